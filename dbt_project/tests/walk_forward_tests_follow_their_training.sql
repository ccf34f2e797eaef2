{{ config(meta={"description": "A window is tested on sessions after those it was trained on.", "dagster": {"ref": {"name": "stg_walk_forward"}}}) }}

select market, configuration, window_number, train_first, train_last, test_first, test_last
from {{ ref("stg_walk_forward") }}
where train_first > train_last or train_last >= test_first or test_first > test_last
