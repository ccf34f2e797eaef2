{% test unique_combination(model, columns) %}
    {#- No two rows share the values of `columns`. -#}
    select {{ columns | join(", ") }}, count(*) as rows_with_it
    from {{ model }}
    group by {{ columns | join(", ") }}
    having count(*) > 1
{% endtest %}
