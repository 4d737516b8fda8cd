"""The page for users of MM-TSFlib says of each flag what the recipe does with it."""

import re
from pathlib import Path
from typing import Any

import pytest

from plait.core.errors import ConfigError
from plait.runs.config import RunConfig
from plait.runs.fields import walk
from plait.runs.recipe import load_recipe, resolve

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from_mm_tsflib.md"
ROWS = {
    flag: (here.strip("`"), happens)
    for flag, here, happens in re.findall(
        r"^\| `--(\w+)` \| (\S+|`--seeds` of `compare`) \| ([\w ]+) \|", PAGE.read_text(), re.M
    )
}
FLAGS = re.findall(
    r"\w+",
    """
task_name is_training model_id model data root_path data_path features target freq checkpoints seq_len label_len
pred_len seasonal_patterns inverse mask_rate anomaly_ratio expand d_conv top_k num_kernels enc_in dec_in c_out d_model
n_heads e_layers d_layers d_ff moving_avg factor distil dropout embed activation output_attention channel_independence
decomp_method use_norm down_sampling_layers down_sampling_window down_sampling_method seg_len num_workers itr
train_epochs batch_size patience learning_rate des loss lradj use_amp use_gpu gpu use_multi_gpu devices p_hidden_dims
p_hidden_layers llm_model llm_dim llm_layers text_path type_tag text_len learning_rate2 learning_rate3 prompt_weight
pool_type date_name addHisRate init_method learning_rate_weight seed save_name use_fullmodel use_closedllm
""",
)
VALUES = {
    "task_name": "imputation", "data": "ETTh1", "mask_rate": 0.125, "loss": "L1", "llm_model": "GPT2M",
    "pool_type": "avg", "activation": "relu", "root_path": "here", "data_path": "a.csv", "text_path": "t.csv",
    "dropout": 0.3, "learning_rate": 0.003,
}  # fmt: skip
"""What each is given; 16, where it is a number of things."""
MEANT: dict[str, Any] = {"data": "ett", "loss": "mae", "pool_type": "mean"}
RECIPE = load_recipe("chimera")


def taken(*fields: tuple[str, Any]) -> dict[str, Any]:
    """The config of a command, by the paths of its fields."""
    needed = [("data.kind", "csv"), ("data.path", "x.csv")] * all(name != "data" for name, _ in fields)
    config = resolve(RECIPE, "tiny", [*needed, *fields])
    return {field.path: field.default for field in walk(RunConfig, config.model_dump(mode="json"))}


def test_the_page_has_every_flag() -> None:
    assert sorted(ROWS) == sorted(FLAGS)


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if ROWS.get(flag, ("", ""))[1] == "no effect"])
def test_what_has_no_effect_is_accepted_and_said_so(flag: str) -> None:
    assert flag.replace("_", "-") in RECIPE.ignored


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if ROWS.get(flag, ("", ""))[1] == "refused"])
def test_what_is_refused_names_what_to_give_instead(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"no field --{flag}") as caught:
        taken((flag, "1"))
    assert caught.value.fix
    assert "did you mean" not in caught.value.fix


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if ROWS.get(flag, ("", ""))[1] == "taken"])
def test_what_is_taken_sets_the_field_that_the_page_names(flag: str) -> None:
    value = VALUES.get(flag, 16)
    brings = {"mask_rate": [("task_name", "imputation")], "data": [("root_path", "here")]}.get(flag, [])
    fields = taken(*brings, (flag, value))
    path = ROWS[flag][0]
    found = fields.get(path, fields.get(f"{path}.kind"))
    if flag == "llm_model":
        assert fields["data.text.embedder.path"] == "openai-community/gpt2-medium"
    else:
        assert found == MEANT.get(flag, value)
