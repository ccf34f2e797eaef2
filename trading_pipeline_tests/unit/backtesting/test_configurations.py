"""Finding configurations: the shipped ones and the user's, with a word on each file that cannot be used."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from trading_pipeline.backtesting import configurations
from trading_pipeline.backtesting.configurations import configuration_named, found, kept
from trading_pipeline.backtesting.sweeps import part_named, parts_of
from trading_pipeline.errors import InputRefused, UnknownName
from trading_pipeline.markets import ASX, US
from trading_pipeline.settings import Settings

MINE = """
name = "mine"
title = "One of my own"
strategy = "moving_average_cross"
market = "us"
universe = "ALL"
parameters = { fast = 5, slow = 20 }
allocation = {}
"""
UNSWEPT = MINE.replace("moving_average_cross", "sentiment").replace("fast = 5, slow = 20", "")
SWEEP = "sweep = { fast = [3, 5], slow = { first = 10, last = 30, step = 10 } }\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose folder of configurations does not exist yet."""
    return Settings(state_dir=tmp_path, backtests_dir=tmp_path / "my: folder", _env_file=None)


def put(settings: Settings, name: str, text: str) -> Path:
    """A file in the user's folder."""
    settings.backtests.mkdir(parents=True, exist_ok=True)
    file = settings.backtests / name
    file.write_text(text)
    return file


class TestFound:
    def test_every_shipped_configuration_can_be_used_and_has_a_title(self, settings: Settings) -> None:
        told = found(settings)
        assert told.faults == []
        assert len(told.configurations) == len(list(configurations.SHIPPED.glob("*.toml"))) >= 7
        assert list(told.configurations) == sorted(told.configurations)
        assert all(each.title for each in told.configurations.values())
        hashes = [each.hash for each in told.configurations.values()]
        assert len(set(hashes)) == len(hashes)

    def test_ones_own_come_beside_them_each_to_its_market(self, settings: Settings) -> None:
        put(settings, "mine.toml", MINE)
        put(settings, "yours.toml", MINE.replace("mine", "yours").replace('"us"', '"asx"'))
        told = found(settings)
        assert told.faults == []
        assert "mine" in told.of(US) and "mine" not in told.of(ASX)
        assert list(told.of(ASX)) == ["yours"]

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("broken.toml", "name = ", "the configuration is no TOML"),
            ("typo.toml", MINE.replace("mine", "typo").replace("allocation", "alocation"), "alocation: unknown"),
            ("other.toml", MINE, "it names itself mine: name the file mine.toml, or it other"),
            ("pairs.toml", MINE.replace("mine", "pairs"), "there is a configuration pairs already"),
            ("range.toml", MINE.replace("mine", "range").replace("fast = 5", "fast = 0"), "greater than or equal to 1"),
            ("nobody.toml", MINE.replace("mine", "nobody").replace("moving_", "moved_"), "unknown strategy"),
            ("swept.toml", MINE.replace("mine", "swept") + "sweep = { fast = [30], slow = [20] }", "no combination"),
            ("swept.toml", MINE.replace("mine", "swept") + "sweep = { average = ['simple'] }", "unknown parameter"),
            (
                "swept.toml",
                UNSWEPT.replace("mine", "swept") + "sweep = { spike = [1.5] }",
                "strategy 'sentiment' cannot be swept",
            ),
            (
                "swept.toml",
                MINE.replace("mine", "swept") + SWEEP + "costs = { slippage = { kind = 'volume_share' } }",
                "set [costs] slippage to fixed or spread",
            ),
        ],
    )  # fmt: skip
    def test_a_file_that_cannot_be_used_is_named_in_one_line_and_harms_no_other(
        self, settings: Settings, name: str, text: str, said: str
    ) -> None:
        put(settings, "mine.toml", MINE)
        file = put(settings, name, text)
        told = found(settings)
        (fault,) = told.faults
        assert fault.startswith(f"{file}: ") and said in fault and "\n" not in fault
        assert {"mine", "momentum-hrp", "pairs"} <= set(told.configurations)
        assert told.configurations["pairs"].strategy == "pairs"
        with pytest.raises((InputRefused, UnknownName)) as error:
            configuration_named(settings, Path(name).stem if name != "pairs.toml" else str(file) + "x")
        assert "\n" not in str(error.value)

    def test_what_is_no_readable_file_is_a_fault_too(self, settings: Settings) -> None:
        put(settings, "bytes.toml", "").write_bytes(b"name = '\xff\xfe'")
        (settings.backtests / "folder.toml").mkdir()
        (settings.backtests / "gone.toml").symlink_to(settings.backtests / "nowhere")
        put(settings, ".half.toml", "name = ")  # an editor's, or one that is being kept
        put(settings, "notes.txt", "not one of ours")
        told = found(settings)
        assert [fault.rpartition("/")[2].partition(":")[0] for fault in told.faults] == [
            "bytes.toml", "folder.toml", "gone.toml"
        ]  # fmt: skip
        assert all("it cannot be read (" in fault for fault in told.faults)
        assert "momentum-hrp" in told.configurations

    def test_what_lacks_bars_waits_and_is_at_fault_in_nothing(self, settings: Settings) -> None:
        put(settings, "mine.toml", MINE)
        put(settings, "late.toml", MINE.replace("mine", "late") + "first_session = 2024-01-31\n")
        put(settings, "yours.toml", MINE.replace("mine", "yours").replace('"us"', '"asx"'))
        days = [date(2024, 1, 1) + timedelta(days=day) for day in range(90)]
        needed = configuration_named(settings, "mine").built().warm_up + 2
        assert needed > 20
        told = found(settings).with_bars(US, days[: needed - 1])
        assert told.waiting["mine"] == f"it needs {needed} sessions of bars, there are {needed - 1}"
        assert list(told.of(US)) == [] and list(told.of(ASX)) == ["yours"] and told.faults == []
        many = [date(2023, 1, 1) + timedelta(days=day) for day in range(395)]
        assert many[-1] == date(2024, 1, 30)
        told = found(settings).with_bars(US, many)
        assert "mine" in told.of(US)
        assert told.waiting["late"] == "it begins with 2024-01-31, and bars end with 2024-01-30"
        for more, waits in ((1, True), (2, False)):
            on = [*many, *(many[-1] + timedelta(days=day + 1) for day in range(more))]
            assert ("late" in found(settings).with_bars(US, on).waiting) is waits
        assert set(found(settings).with_bars(US, []).waiting) == set(found(settings).of(US))


class TestNamed:
    def test_an_unknown_name_lists_the_known_ones(self, settings: Settings) -> None:
        put(settings, "mine.toml", MINE)
        with pytest.raises(UnknownName, match=r"no configuration named 'momentum'. Known: .*mine, momentum-hrp"):
            configuration_named(settings, "momentum")

    def test_the_name_of_a_file_at_fault_tells_the_fault(self, settings: Settings) -> None:
        file = put(settings, "mine.toml", MINE.replace("fast = 5", "fast = 50"))
        with pytest.raises(InputRefused, match=r"fast \(50\) must be below slow \(20\).* Mend that in the file"):
            configuration_named(settings, "mine")
        with pytest.raises(InputRefused, match=r"fast \(50\) must be below slow"):
            configuration_named(settings, str(file))

    def test_a_path_needs_no_place_among_the_others(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "draft.toml").write_text(MINE)
        assert configuration_named(settings, str(tmp_path / "draft.toml")).name == "mine"
        monkeypatch.setenv("HOME", str(tmp_path))
        assert configuration_named(settings, "~/draft.toml").title == "One of my own"
        with pytest.raises(InputRefused, match=r"it cannot be read \(No such file"):
            configuration_named(settings, str(tmp_path / "none.toml"))


class TestKept:
    def test_a_file_is_kept_under_its_configurations_name_and_kept_again_as_it_is(
        self, settings: Settings, tmp_path: Path
    ) -> None:
        draft = tmp_path / "draft.toml"
        draft.write_text(MINE + "# my own words: naïve\n")
        target = kept(settings, str(draft), configuration_named(settings, str(draft)))
        assert target == settings.backtests / "mine.toml"
        assert target.read_bytes() == draft.read_bytes()
        for path in (draft, target):
            assert kept(settings, str(path), configuration_named(settings, str(path))) == target
        assert [file.name for file in settings.backtests.iterdir()] == ["mine.toml"]

    @pytest.mark.parametrize("there", [MINE.replace("slow = 20", "slow = 30"), "name = ", MINE + "# words of mine"])
    def test_nothing_of_the_users_is_written_over(self, settings: Settings, tmp_path: Path, there: str) -> None:
        """Not a draft that cannot be used either."""
        target, draft = put(settings, "mine.toml", there), tmp_path / "draft.toml"
        draft.write_text(MINE)
        with pytest.raises(InputRefused, match=r"There is another file .*mine.toml. Change that one, or give"):
            kept(settings, str(draft), configuration_named(settings, str(draft)))
        assert target.read_text() == there

    def test_a_shipped_name_is_taken(self, settings: Settings, tmp_path: Path) -> None:
        draft = tmp_path / "draft.toml"
        draft.write_text(MINE.replace("mine", "pairs"))
        with pytest.raises(InputRefused, match="A configuration named pairs comes with the package"):
            kept(settings, str(draft), configuration_named(settings, str(draft)))
        assert not settings.backtests.exists()

    def test_a_folder_that_cannot_be_made_is_told(self, settings: Settings, tmp_path: Path) -> None:
        draft = tmp_path / "draft.toml"
        draft.write_text(MINE)
        settings.backtests.write_text("a file where the folder should be")
        with pytest.raises(InputRefused, match="cannot be written"):
            kept(settings, str(draft), configuration_named(settings, str(draft)))


class TestParts:
    def test_a_sweep_has_as_many_parts_as_asked_for_but_none_without_a_set(self, settings: Settings) -> None:
        file = put(settings, "mine.toml", MINE)
        assert parts_of(configuration_named(settings, "mine")) == []
        for chunks, parts in ((1, 1), (4, 4), (100, 6)):
            file.write_text(MINE + f"sweep_chunks = {chunks}\n" + SWEEP)
            assert parts_of(configuration_named(settings, "mine")) == [
                f"mine/{number}-of-{parts}" for number in range(1, parts + 1)
            ]

    def test_a_key_is_read_back(self) -> None:
        assert part_named("my-sweep_2/3-of-8") == ("my-sweep_2", 3, 8)
        for key in ("mine", "mine/0-of-8", "mine/9-of-8", "mine/1-of-8x", "/1-of-1"):
            with pytest.raises(InputRefused, match="is no part of a sweep"):
                part_named(key)
