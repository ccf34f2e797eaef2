{% test between(model, column_name, low=none, high=none) %}
    {#- Where it is known, the value lies in [low, high]; either end may be left open. -#}
    select {{ column_name }}
    from {{ model }}
    where
        false
        {%- if low is not none %} or {{ column_name }} < {{ low }}{% endif %}
        {%- if high is not none %} or {{ column_name }} > {{ high }}{% endif %}
{% endtest %}
