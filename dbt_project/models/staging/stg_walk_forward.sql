select
    market,
    configuration,
    "window" as window_number,
    train_first,
    train_last,
    test_first,
    test_last,
    parameters,
    tried,
    train_sharpe,
    test_sharpe,
    test_return
from {{ source("warehouse", "walk_forward") }}
