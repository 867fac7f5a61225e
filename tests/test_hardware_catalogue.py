"""The hardware catalogue: every shipped file loads with its sources, every bad file says in one line what is bad."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dse.catalogue import hardware, parts, paths
from dse.catalogue.files import LARGEST_BYTES
from dse.catalogue.quantity import quantity, unit_of
from dse.errors import InputError

IDS = {
    "a100_40g_sxm", "a100_80g_sxm", "a100_80g_pcie", "h100_sxm", "h100_pcie", "h100_nvl", "h200_sxm", "h20_sxm",
    "gh200", "b200_sxm", "b300_sxm", "gb200_nvl72", "gb300_nvl72", "l4", "l40s", "a10g", "rtx4090", "rtx5090",
    "rtx_pro_6000_bw", "rtx6000_ada", "rtx_a6000", "v100_sxm2", "t4", "mi210", "mi250x", "mi300x", "mi325x",
    "mi355x", "tpu_v4", "tpu_v5e", "tpu_v5p", "tpu_v6e", "tpu_v7", "gaudi2", "gaudi3", "trainium1", "trainium2",
    "trainium3", "inferentia2", "ascend_910a", "ascend_910b", "ascend_910c", "groq_lpu1", "wse3", "m2_ultra",
    "m3_ultra", "orin_agx64",
}  # fmt: skip
SYSTEMS = {
    "hgx_a100", "hgx_h100", "hgx_h200", "hgx_b200", "hgx_b300", "gb200_nvl72", "gb300_nvl72", "mi300x_node",
    "mi355x_node", "l40s_node", "cloudmatrix384", "tpu_v5e_pod", "dgx_h100_4to1",
}  # fmt: skip
KINDS = (parts.ACCELERATORS, parts.SYSTEMS, parts.LINKS, parts.TIERS, "hardware/economics")
FILES = [paths.find(kind, name) for kind in KINDS for name in paths.names(kind)]
H100 = paths.find(parts.ACCELERATORS, "h100_sxm")


def figures(document: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table with a value, by dotted key."""
    if isinstance(document, dict) and "value" in document:
        yield key, document
    elif isinstance(document, dict):
        for name, inner in document.items():
            yield from figures(inner, f"{key}.{name}" if key else name)


def one_line(path: Path | str, *words: str) -> None:
    """Loading a chip fails in one line that has all the words."""
    with pytest.raises(InputError) as caught:
        hardware.load_chip(path)
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    for word in words:
        assert word in text


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str | bytes, name: str = "mine.toml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def edited(written: Any) -> Any:
    """A copy of h100_sxm with one text replaced."""

    def edit(old: str, new: str) -> Path:
        text = H100.read_text()
        assert old in text
        path: Path = written(text.replace(old, new, 1))
        return path

    return edit


# --- what ships


def test_catalogue_lost_a_chip_or_a_system() -> None:
    assert len(IDS) == 47
    assert set(hardware.chip_names()) >= IDS
    assert set(hardware.system_names()) >= SYSTEMS


@pytest.mark.parametrize("name", hardware.chip_names())
def test_chip_does_not_load_or_is_not_a_machine(name: str) -> None:
    chip = hardware.load_chip(name)
    assert chip.name == name
    assert chip.kernel_class in ("async", "sync")
    assert min(chip.memory_bytes, chip.memory_bandwidth, chip.cache_bandwidth, chip.clock, chip.cores) > 0
    assert chip.matrix_clock <= chip.clock
    assert chip.cache_bandwidth >= chip.memory_bandwidth
    node = hardware.default_node(chip)
    assert 1 <= node.gpus_per_node <= 8
    assert (node.host is None) == (chip.host_link_bandwidth is None)
    if node.host is not None:
        assert 0 < node.host.link_efficiency <= 1
        assert 1e-6 < node.host.link_latency < 1e-4


@pytest.mark.parametrize("name", hardware.system_names())
def test_system_does_not_load(name: str) -> None:
    node = hardware.load_node(name)
    assert node.name == name
    assert node.host is not None
    assert node.chip.scale_out is not None
    assert node.chip.scale_out.oversubscription == node.oversubscription


@pytest.mark.parametrize("kind", [parts.LINKS, parts.TIERS])
def test_link_or_tier_does_not_load(kind: str) -> None:
    assert paths.names(kind)
    for name in paths.names(kind):
        assert parts.load_part(kind, name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_figure_has_no_source_or_file_another_name(path: Path) -> None:
    document = tomllib.loads(path.read_text())
    assert document["name"] == path.stem
    used = set()
    for key, figure in figures(document):
        assert figure.get("source") in document["sources"], key
        used.add(figure["source"])
    assert used == set(document["sources"]), "sources that no figure uses"


@pytest.mark.parametrize("name", hardware.chip_names())
def test_range_does_not_contain_its_value(name: str) -> None:
    for key, fact in hardware.load_chip(name).facts.items():
        assert fact.low <= fact.value <= fact.high, key
        assert fact.source, key


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_unit_form_in_use_is_not_read(path: Path) -> None:
    for key, figure in figures(tomllib.loads(path.read_text())):
        for end in ("value", "low", "high"):
            text = figure.get(end)
            if isinstance(text, str) and re.match(r"[\d.]", text) and " " in text:
                unit = unit_of(text, key)
                factor = quantity(text, unit, key) / quantity(f"1 {text.split()[1]}", unit, key)
                assert factor == pytest.approx(float(text.split()[0])), key


def test_shipped_file_names_this_machine() -> None:
    for path in FILES:
        assert "/work" not in path.read_text()
        assert "shared/" not in path.read_text()


def test_recalled_or_assumed_figure_passes_for_verified() -> None:
    facts = hardware.load_chip("h100_sxm").facts
    assert facts["memory.bandwidth"].verified
    assert not facts["cores.matrix_clock"].verified
    assert not hardware.load_chip("t4").facts["peak.fp16"].verified
    assert not hardware.load_chip("tpu_v6e").facts["cores.clock"].verified


# --- figures that must come out as the sources have them


def test_h100_differs_from_its_data_sheet() -> None:
    chip = hardware.load_chip("h100_sxm")
    assert chip.peak["bf16"] == 989e12
    assert (chip.memory_bytes, chip.memory_bandwidth, chip.cache_bytes) == (80e9, 3.35e12, 50 * 2**20)
    assert (chip.clock, chip.matrix_clock, chip.cores, chip.exp_rate) == (1.98e9, 1.83e9, 132, 16)
    assert (chip.scale_up.bandwidth, chip.scale_up.domain, chip.scale_up.topology) == (450e9, 8, "switch")
    assert chip.scale_up.reduces
    # 132 SMs x 4096 FLOP a clock at the matrix clock is the stated peak
    assert chip.cores * hardware.FLOP_PER_SM_CLOCK * chip.matrix_clock == pytest.approx(chip.peak["bf16"], rel=2e-3)


def test_usable_share_of_infinity_fabric_is_ignored() -> None:
    chip = hardware.load_chip("mi300x")
    assert chip.scale_up.bandwidth == pytest.approx(336e9)
    assert chip.facts["scale_up.bandwidth"].value == 448e9


def test_chip_without_bf16_gets_an_invented_one() -> None:
    assert "bf16" not in hardware.load_chip("v100_sxm2").peak


def test_one_file_is_not_one_sku() -> None:
    assert hardware.load_chip("gh200").memory_bytes == 96e9
    assert hardware.load_chip("gh200_144g").memory_bytes == 144e9
    assert [hardware.load_chip(f"ascend_910b{part}").peak["fp16"] / 1e12 for part in ("", "3", "4")] == [376, 313, 280]


def test_exponential_rate_of_blackwell_ultra() -> None:
    assert {n for n in hardware.chip_names() if hardware.load_chip(n).exp_rate == 32} == {"b300_sxm", "gb300_nvl72"}


def test_host_of_a_node_is_not_shared_among_its_devices() -> None:
    node = hardware.load_node("hgx_h100")
    assert node.host is not None
    assert node.gpus_per_node == 8
    assert node.host.memory_bytes == 2048e9 / 8
    assert node.host.memory_bandwidth == 614e9 / 8
    grace = hardware.default_node(hardware.load_chip("gb200_nvl72")).host
    assert grace is not None
    assert (grace.link_bandwidth, grace.memory_bandwidth, grace.memory_bytes) == (450e9, 256e9, 240e9)
    assert grace.link_efficiency < 0.5


def test_system_does_not_change_its_chips_network() -> None:
    assert hardware.load_node("dgx_h100_4to1").oversubscription == 4
    assert hardware.load_node("l40s_node").chip.scale_up.domain == 8
    assert hardware.default_node(hardware.load_chip("l40s")).gpus_per_node == 8
    assert hardware.default_node(hardware.load_chip("m3_ultra")).gpus_per_node == 1


def test_economics_differ_from_their_sources() -> None:
    economics = hardware.load_economics()
    assert (economics.server_overhead, economics.life_years, economics.pue) == (1.4, 5, 1.2)
    for key, fact in economics.facts.items():
        assert fact.low <= fact.value <= fact.high, key


def test_loading_a_chip_pulls_in_a_slow_package() -> None:
    code = (
        "import sys; from dse.catalogue.hardware import load_chip; load_chip('h100_sxm');"
        "print([m for m in ('pandas', 'scipy', 'sympy', 'yaml', 'optuna', 'plotly') if m in sys.modules])"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


# --- quantities


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("50 MiB", "B", 52428800), ("228 KiB", "B", 233472), ("80 GB", "B", 80e9), ("2 TB", "B", 2e12),
        ("16 B", "B", 16),
        ("3.35 TB/s", "B/s", 3.35e12), ("21 PB/s", "B/s", 21e15), ("450 GB/s", "B/s", 450e9),
        ("400 Gbit/s", "B/s", 50e9), ("989 TFLOP/s", "FLOP/s", 989e12), ("1.5 PFLOP/s", "FLOP/s", 1.5e15),
        ("2.59 us", "s", 2.59e-6), ("150 ns", "s", 150e-9), ("3 ms", "s", 3e-3), ("1.98 GHz", "Hz", 1.98e9),
        ("1830 MHz", "Hz", 1.83e9), ("700 W", "W", 700), ("125.9 kW", "W", 125900), ("27000 USD", "USD", 27000),
        ("2.95 USD/h", "USD/h", 2.95), ("3 pJ/bit", "J/B", 24e-12), ("12.5 USD/GB", "USD/B", 12.5e-9),
        (0.45, "", 0.45), (814, "mm2", 814),
    ],
)  # fmt: skip
def test_quantity_reads_another_value(text: str | float, unit: str, value: float) -> None:
    assert quantity(text, unit, "here") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("80 GB", "B/s"), ("3.35 TB/s", "B"), ("nan s", "s"), ("inf B", "B"), ("-3 GB", "B"), ("3.35 B/s", "B/s"),
        ("9e40 B", "B"), ("0 GB/s", "B/s"), (3.35e12, "B/s"), ("45 %", ""), ("814 mm2", "mm2"), ("fast", "B/s"),
        ("", "B"), ("x = 3 GB", "B"), ("3 gb", "B"), ("3 years", "s"), (float("nan"), ""), (True, ""), ("1" * 200, "B"),
        (10**400, ""), (-0.1, ""), ("3 GB extra", "B"),
    ],
)  # fmt: skip
def test_quantity_lets_nonsense_through(text: str | float, unit: str) -> None:
    with pytest.raises(InputError, match="expected a") as caught:
        quantity(text, unit, "file.toml: memory.bandwidth")
    assert str(caught.value).startswith("file.toml: memory.bandwidth: ")


def test_allowed_negative_is_refused() -> None:
    assert quantity("-3 us", "s", "here", negative=True) == pytest.approx(-3e-6)


# --- bad files


def test_misspelt_key_names_no_neighbour(edited: Any) -> None:
    one_line(edited("\nbandwidth = ", "\nbandwith = "), "mine.toml: memory.bandwith: unknown key", "'bandwidth'")
    one_line(edited("[memory]", "[memroy]"), "mine.toml: memroy: unknown key", "'memory'")
    one_line(edited("low = 0.866", "lo = 0.866"), "memory.stream_share.lo: unknown key", "'low'")


def test_missing_source_loads(edited: Any) -> None:
    figure = 'bandwidth = { value = "3.35 TB/s", source = "aic" }'
    one_line(edited(figure, 'bandwidth = { value = "3.35 TB/s" }'), "memory.bandwidth.source: missing", "[sources]")
    one_line(
        edited(figure, 'bandwidth = { value = "3.35 TB/s", source = "aik" }'), "memory.bandwidth.source: 'aik'", "'aic'"
    )
    one_line(edited(figure, 'bandwidth = "3.35 TB/s"'), "memory.bandwidth", "source")
    one_line(edited(figure, ""), "memory.bandwidth: missing")


@pytest.mark.parametrize(
    "value",
    ['"-3 TB/s"', '"nan TB/s"', "nan", "inf", "-1.0", '"3 B/s"', '"80 GB"', "3.35e12", "true", "[1]", "2024-01-01"],
)
def test_impossible_figure_loads(edited: Any, value: str) -> None:
    one_line(edited('value = "3.35 TB/s"', f"value = {value}"), "mine.toml: memory.bandwidth", "expected")


def test_value_outside_its_range_loads(edited: Any) -> None:
    one_line(
        edited("value = 0.9066", "value = 0.99"), "memory.stream_share", "expected a range that contains the value"
    )


def test_wrong_choice_has_no_hint(edited: Any) -> None:
    one_line(edited('"switch"', '"swich"'), "scale_up.topology: 'swich'", "'switch'")
    one_line(edited('kind = "accelerator"', 'kind = "system"'), "mine.toml: kind: 'system'", "accelerator")
    one_line(edited('link = "pcie5_x16"', 'link = "pcie5_x61"'), "mine.toml: host.link: 'pcie5_x61'", "'pcie5_x16'")
    one_line(edited('link = "pcie5_x16"', 'link = "eth400_roce"'), "mine.toml: host.link", "no host link")


def test_half_a_device_in_a_domain(edited: Any) -> None:
    one_line(edited("domain = { value = 8", "domain = { value = 7.5"), "scale_up.domain", "whole number")


def test_chip_without_16_bit_peak_loads(edited: Any) -> None:
    path = edited("bf16 = ", "int4 = ")
    path.write_text(path.read_text().replace("fp16 = ", "fp6 = ", 1))
    one_line(path, "mine.toml: peak", "bf16")


def test_truncated_file_gives_a_traceback(written: Any) -> None:
    text = H100.read_text()
    for length in range(0, len(text) - 200, 97):
        one_line(written(text[:length]), "mine.toml: ")
    one_line(written(text[: text.index("3.35 TB/s") + 3]), "is not TOML", "line")


def test_unreadable_file_gives_a_traceback(written: Any, tmp_path: Path) -> None:
    one_line(written(b'kind = "accelerator"\nname = "\xff"\n'), "mine.toml: line 2 is not UTF-8")
    one_line(written("#" * (LARGEST_BYTES + 1)), "larger than 1 MiB")
    one_line(written("a = " + "[" * 20000 + "]" * 20000), "nested too deeply")
    one_line(written("a = " + "{ a = " * 50 + "1" + " }" * 50), "nested too deeply")
    one_line(tmp_path / "absent.toml", "absent.toml: cannot be read")
    one_line(tmp_path, "cannot be read")


@pytest.mark.parametrize("name", ["h100_sxn", "../h100_sxm.toml/..", "", ".", "h100\0", "H100"])
def test_unknown_name_gives_a_traceback(name: str) -> None:
    with pytest.raises(InputError):
        hardware.load_chip(name)


def test_unknown_name_has_no_hint() -> None:
    one_line("h100_sxn", "hardware/accelerators: 'h100_sxn' is not in the catalogue", "'h100_sxm'")


@pytest.mark.parametrize("seed", range(300))
def test_garbled_file_gives_a_traceback(written: Any, seed: int) -> None:
    chance = random.Random(seed)
    lines = H100.read_text().splitlines()
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        words = lines[at].split(" ")
        words[chance.randrange(len(words))] = chance.choice(
            ["", "{", "}", "=", '"', "3", "[x]", "true", "\u00e9", "[[a]]"]
        )
        lines[at] = " ".join(words)
    with contextlib.suppress(InputError):
        hardware.load_chip(written("\n".join(lines)))


def test_bad_system_names_no_key(written: Any) -> None:
    text = paths.find(parts.SYSTEMS, "hgx_h100").read_text()
    for old, new, words in (
        ('"h100_sxm"', '"h100_smx"', "mine.toml: chip: 'h100_smx'"),
        ("gpus_per_node", "gpu_per_node", "mine.toml: gpu_per_node: unknown key"),
        ("value = 8,", "value = 0,", "mine.toml: gpus_per_node: 0 is no count"),
        ("memory_bandwidth", "link = 'nvlink4'\nmemory_bandwidth", "mine.toml: host.link"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            hardware.load_node(written(text.replace(old, new, 1)))


# --- a user's own chip


OWN = """
base = "h100_sxm"
title = "H100 with twice the memory bandwidth"
[memory]
bandwidth = { value = "6.7 TB/s", source = "mine" }
[sources]
mine = { kind = "assumed", ref = "what if" }
"""


def test_base_does_not_fill_what_a_file_leaves_out(written: Any) -> None:
    chip, base = hardware.load_chip(written(OWN, "fast.toml")), hardware.load_chip("h100_sxm")
    assert chip.name == "fast"
    assert chip.memory_bandwidth == 6.7e12
    assert not chip.facts["memory.bandwidth"].verified
    assert chip.peak == base.peak
    assert chip.scale_up == base.scale_up
    assert hardware.default_node(chip).host == hardware.default_node(base).host


def test_overridden_figure_keeps_the_range_of_its_base(written: Any) -> None:
    text = OWN.replace("bandwidth = { value", "stream_share = { value").replace('"6.7 TB/s"', "0.5")
    fact = hardware.load_chip(written(text)).facts["memory.stream_share"]
    assert (fact.low, fact.value, fact.high) == (0.5, 0.5, 0.5)


def test_bad_base_gives_a_traceback(written: Any) -> None:
    one_line(written(OWN.replace("h100_sxm", "h100_smx")), "mine.toml: base: 'h100_smx'", "'h100_sxm'")
    one_line(written(OWN.replace('"h100_sxm"', "3")), "mine.toml: base: 3")
    one_line(written(OWN.replace("h100_sxm", "mine.toml")), "base", "loop")
    one_line(written(OWN.replace("[memory]", "[memory.x]")), "unknown key")
    one_line(written(OWN.replace("[memory]\n", "memory = 3\n[other]\n")), "mine.toml")


def test_user_folder_does_not_win_over_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "hardware" / "accelerators"
    folder.mkdir(parents=True)
    text = H100.read_text()
    (folder / "h100_sxm.toml").write_text(text.replace('"3.35 TB/s"', '"3.5 TB/s"'))
    (folder / "my_chip.toml").write_text(text.replace('"h100_sxm"', '"my_chip"'))
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path))
    assert hardware.load_chip("h100_sxm").memory_bandwidth == 3.5e12
    assert "my_chip" in hardware.chip_names()
    assert hardware.load_chip("l4").name == "l4"
    monkeypatch.setenv(paths.VARIABLE, str(tmp_path / "absent"))
    one_line("h100_sxm", "$DSE_CATALOGUE", "absent")


def test_a_checkout_reads_its_own_data_and_an_installed_package_the_copy_inside_it(tmp_path, monkeypatch) -> None:
    package = tmp_path / "dse" / "catalogue"
    (package.parent / "_data" / "hardware" / "accelerators").mkdir(parents=True)
    monkeypatch.delenv(paths.VARIABLE, raising=False)
    monkeypatch.setattr(paths, "__file__", str(package / "paths.py"))
    assert paths.data_roots() == [tmp_path / "dse" / "_data"]
    (tmp_path / "hardware" / "accelerators").mkdir(parents=True)
    assert paths.data_roots() == [tmp_path]
