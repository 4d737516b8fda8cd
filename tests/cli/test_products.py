"""`products` as it is typed: a training, errors by price, new rows, several runs together, and what is refused."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.product_shop import PRODUCTS, photo_ids, photos, room_ids, rooms, shop_frame, write_shop
from page_parser import check_whole
from plait.cli.arguments import config_of
from plait.runs.fit import fit
from plait.runs.run import load_run
from runs.product_runs import cheap
from typed_command import Command, typed

SOURCES = "--sources.photos.path photos.npy --sources.rooms.path rooms.npy"
TINY = "--size tiny --pca null --epochs 2 --device cpu --trackers [] --accept always"
SHOP = f"products --data.root shop --data.path shop.csv --splits [0.5,0.25,0.25] {TINY}"
ASKED = f"{SHOP} --numbers size,rooms --categories place {SOURCES}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shop, damaged tables, two runs on it, one on other rows, one of series, and new rows."""
    folder = tmp_path_factory.mktemp("cli")
    write_shop(folder / "shop")
    (folder / "shop" / "old.pkl").write_bytes(b"\x80\x04]\x94.")
    unpriced = shop_frame()
    unpriced.loc[[3, 7, 11], "price"] = ["0", "", "-2.50"]
    unpriced.to_csv(folder / "shop" / "unpriced.csv", index=False)
    shop_frame().assign(id=[f"z{name}" for name in PRODUCTS]).to_csv(folder / "shop" / "others.csv", index=False)
    series = "chimera --size tiny --data.weeks 420 --epochs 1 --device cpu --trackers [] --fusion none"
    second = f"{ASKED} --seed 1 --fusion hierarchical --sources.photos.branch-dims [11,7]"
    asked = {"run": ASKED, "second": second, "moved": f"{ASKED} --split-seed 3 --epochs 1", "series": series}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, tokens in asked.items():
            config = config_of(tokens.split())[2]
            (folder / name).mkdir()
            rivals = None if name == "series" else cheap(config)
            fit(config, Path(name), rivals=rivals)
    new_rows(folder / "new", pd.read_csv(folder / "run" / "predictions.csv")["id"].tolist())
    return folder


def new_rows(folder: Path, ids: list[str]) -> None:
    """The test rows without prices, in another order, and the arrays of those that have them."""
    folder.mkdir()
    shop_frame().set_index("id").loc[ids[::-1]].drop(columns="price").to_csv(folder / "rows.csv")
    for name, known, values in (("photos", photo_ids(), photos()), ("rooms", room_ids(), rooms())):
        having = [each for each in ids if each in known]
        np.save(folder / f"{name}.npy", values[[known.index(each) for each in having]])
        (folder / f"{name}.ids.txt").write_text("\n".join(having) + "\n")


@pytest.fixture
def plait(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs the command in this process, beside the runs."""
    monkeypatch.chdir(place)
    with typed(monkeypatch, capsys) as run:
        yield run


# --- train


def test_a_training_is_told_and_drawn(plait: Command) -> None:
    tokens = f"train products --data.kind synthetic_products --data.rows 199 {TINY} --fusion hierarchical --out made"
    said = plait(*tokens.split())
    assert said.code == 0, said.err
    assert re.search(r"test smape \d+\.\d+ \[.*\], mae .*, rmsle .*, least_expert .* \(20 products\)", said.out)
    assert "unit: SMAPE, 0 to 200" in said.out
    for name in ("constant", "ridge_image_a", "concat_ridge"):
        assert re.search(rf"^  {name} +smape \d", said.out, re.MULTILINE)
    page = check_whole(Path("made/report.html").read_text(encoding="utf-8"))
    assert "Predictions of test products" in page.text
    assert len(pd.read_csv("made/groups.csv")) >= 1
    shutil.rmtree("made")


@pytest.mark.parametrize(
    "tokens, code, words",
    [
        ("--sources.photos.path old.pkl", 3, "shop/old.pkl: a pickle may run code (plait data convert shop/old.pkl"),
        (f"--data.path unpriced.csv {SOURCES}", 3,
         "shop/unpriced.csv, column price: 3 of 101 rows have no price above 0: row 4 (id k003) '0', row 8 (id k007)"
         " '', row 12 (id k011) '-2.50' (mend these rows or leave them out)"),
        (f"--data.path others.csv {SOURCES}", 3,
         "shop/others.csv: no id of source photos is an id of the table: 0 of 97 rows of the source (k000, k001"),
        (f"{SOURCES} --numbers size --fusion hierarchical --tree [[photos,rums],attributes]", 2,
         "model.fusion.tree: the tree names no stream: rums; it misses rooms (each of attributes, photos, rooms"),
        (f"{SOURCES} --numbers size --fusion hierarchical --tree [photos,rooms]", 2,
         "model.fusion.tree: the tree misses attributes"),
        (f"{SOURCES} --without [rums]", 2, "model.without: there is no source 'rums' (did you mean rooms?; the"),
        (f"{SOURCES} --sources.fotos.branch-dims [7]", 2, "model.branches: there is no source 'fotos' (did you mean"),
        (f"{SOURCES} --sources.photos.branch-dims [7,5]", 2,
         "model.branches.photos.dims: photos has embeddings of width 11, not 7 (begin with 11, then the"),
        ("--sources.photos.path fotos.npy", 5, "shop/fotos.npy: no such file (did you mean photos.npy?)"),
        ("--sources.photos.ids photos.ids.txt", 2, "products: field 'data.sources.photos.path' must be given"),
        ("--sources.photos.pth photos.npy", 2, "no field --data.sources.photos.pth (did you mean path?)"),
        ("--numbers sizes", 3, "shop/shop.csv"),
        ("", 2, "data: there is nothing to read but the price (name columns by data.numbers or data.categories"),
    ],
)  # fmt: skip
def test_what_can_not_be_trained_is_one_clear_line_and_leaves_no_folder(
    plait: Command, tokens: str, code: int, words: str
) -> None:
    said = plait("train", *SHOP.split(), *tokens.split(), "--out", "refused")
    assert said.code == code, said
    assert said.err.startswith(f"plait: {words}")
    assert len(said.err.splitlines()) == 1
    assert not Path("refused").exists()


def test_one_source_alone_is_not_compared(plait: Command) -> None:
    said = plait("compare", *SHOP.split(), "--sources.photos.path", "photos.npy", "--out", "refused")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "plait: data: there is one source, and nothing beside it to compare"
        " (give a second source (--sources.NAME.path FILE), or --data.numbers)\n"
    )
    assert not Path("refused").exists()


# --- evaluate


@pytest.mark.parametrize("bins, by", [((), {"quantiles"}), (("--bins", "seed"), {"bins", "ranges"})])
def test_errors_by_price_add_up(plait: Command, bins: tuple[str, ...], by: set[str]) -> None:
    said = plait("evaluate", "run", "--groups", *bins, "--json")
    assert said.code == 0, said.err
    groups, whole = said.data["groups"], said.data["metrics"]["test"]["smape"]
    assert {group["by"] for group in groups} == by
    for each in by:
        some = [group for group in groups if group["by"] == each and group["count"]]
        assert sum(group["count"] for group in some) == len(pd.read_csv("run/predictions.csv"))
        assert sum(group["count"] * group["smape"] for group in some) / 25 == pytest.approx(whole)
    shown = plait("evaluate", "run", "--groups", *bins).out
    for group in groups:
        assert re.search(rf"^{re.escape(group['label'])} +{group['count']} ", shown, re.MULTILINE)


def test_validation_rows_may_be_grouped_too(plait: Command) -> None:
    said = plait("evaluate", "run", "--groups", "--split", "val", "--json").data
    assert said["split"] == "val"
    assert sum(group["count"] for group in said["groups"]) == len(load_run("run").data.rows("val"))


@pytest.mark.parametrize(
    "tokens, code, words",
    [
        ("run --groups --split train", 2, "--split: no split 'train' (there is test, val)"),
        ("run --bins seed", 2, "--bins says how --groups groups (add --groups)"),
        ("run --groups --bins sead", 2, "bins: there are no bins 'sead' (quantiles or seed)"),
        ("series --groups", 2, "--groups: errors of the task forecast are not grouped (leave it out)"),
    ],
)
def test_what_evaluate_refuses(plait: Command, tokens: str, code: int, words: str) -> None:
    said = plait("evaluate", *tokens.split())
    assert (said.code, said.out, said.err) == (code, "", f"plait: {words}\n")


# --- predict


def test_new_rows_are_answered_as_the_test_rows_they_are(plait: Command) -> None:
    said = plait("predict", "run", "--table", "new/rows.csv", "--sources", "new", "--output", "out.csv", "--json")
    assert said.code == 0, said.err
    assert "of the table have no row of source rooms" in said.err
    made, kept = pd.read_csv("out.csv"), pd.read_csv("run/predictions.csv")
    assert said.data == {"run": "run", "output": "out.csv", "lines": len(kept)}
    pd.testing.assert_frame_equal(made, kept.drop(columns="actual"), rtol=1e-5)
    assert set(made["id"]) - set(room_ids())  # some of them lack a source


def test_sources_that_are_not_given_are_told(plait: Command) -> None:
    said = plait("predict", "run", "--table", "new/rows.csv")
    assert said.code == 0
    for name in ("photos", "rooms"):
        assert f"25 rows have no source {name}: it is not given" in said.err


def test_several_runs_answer_with_their_mean_or_their_weights(plait: Command) -> None:
    frames = {name: pd.read_csv(f"{name}/predictions.csv") for name in ("run", "second")}
    logs = np.stack([np.log(frame["price"]) for frame in frames.values()])
    asked = ("predict", "run", "second", "--split", "test", "--output", "out.csv")
    said = plait(*asked, "--mean")
    assert said.code == 0, said.err
    assert said.out.startswith("0.50 x run\n0.50 x second\n")
    made = pd.read_csv("out.csv")
    np.testing.assert_allclose(np.log(made["price"]), logs.mean(axis=0), rtol=1e-5)
    said = plait(*asked, "--weights-from", "val", "--json")
    assert said.code == 0, said.err
    shares = said.data["runs"]
    assert list(shares) == ["run", "second"]
    assert sum(shares.values()) == pytest.approx(1)
    assert said.err.startswith("".join(f"{share:.2f} x {name}\n" for name, share in shares.items()))
    made = pd.read_csv("out.csv")
    np.testing.assert_allclose(np.log(made["price"]), np.array(list(shares.values())) @ logs, rtol=1e-5)
    new = plait("predict", "run", "second", "--mean", "--table", "new/rows.csv", "--sources", "new", "--json").data
    np.testing.assert_allclose([np.log(row["price"]) for row in new["forecast"]], logs.mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    "tokens, code, words",
    [
        ("run", 3, "predict: there is nothing to predict (give --table FILE, or --split test)"),
        ("run --mean", 2, "one run has no other to be averaged with (name two runs or more)"),
        ("run --weights-from val", 2, "one run has no other to be averaged with (name two runs or more)"),
        ("run second", 2, "how do several runs answer together? (give --mean, or --weights-from val)"),
        ("run second --mean --weights-from val", 2, "how do several runs answer together? (give --mean, or"),
        ("run second --weights-from test", 2, "--weights-from: weights are fitted on validation rows, not on 'test'"),
        ("run moved --weights-from val", 3, "moved: its validation rows are not those of run (train the runs on one"),
        ("run moved --mean --split test", 3, "predict: the runs do not predict the same rows (train them on one"),
        ("run series --mean", 2, "series: answers of the task forecast are not averaged (predict with each run by"),
        ("series run --mean", 2, "series: answers of the task forecast are not averaged (predict with each run by"),
        ("run --path shop/shop.csv", 2, "--path: this is a run of products (recipe products) (give its new data by"),
        ("run --sources new", 2, "--sources needs --table beside it"),
        ("run --table new/rows.csv --sources nwe", 5, "nwe: no such folder"),
        ("run --table new/rows.csv --sources run", 5, "run: holds no array of the run's sources (photos.npy, ro"),
        ("run --table new/rows.csv --split test", 2, "--split is of the run's own data, --table brings others"),
    ],
)  # fmt: skip
def test_what_predict_refuses(plait: Command, tokens: str, code: int, words: str) -> None:
    said = plait("predict", *tokens.split())
    assert (said.code, said.out) == (code, ""), said
    assert said.err.startswith(f"plait: {words}")
    assert len(said.err.splitlines()) == 1


def test_a_source_of_another_width_is_refused(plait: Command, tmp_path: Path) -> None:
    shutil.copytree("new", tmp_path / "new")
    np.save(tmp_path / "new" / "photos.npy", np.load("new/photos.npy")[:, :10])
    said = plait("predict", "run", "--table", tmp_path / "new" / "rows.csv", "--sources", tmp_path / "new")
    assert (said.code, said.out) == (3, "")
    assert said.err == (
        "plait: sources.photos: source photos has width 10, the run learned width 11"
        " (encode it with the run's encoder)\n"
    )


# --- what was kept


def test_the_flags_of_the_design_document_reach_the_config(plait: Command) -> None:
    tokens = (
        "--size seed --sources.photos.path photos.npy --sources.rooms.path rooms.npy --sources.rooms.branch-dims [7,5]"
        " --num-experts 5 --num-attention-heads 4 --batch-size 64 --num-epochs 3 --learning-rate 0.01"
        " --loss-type focal_smape --early-stopping-patience 7"
    )
    said = plait("init", "products", "--data.path", "shop.csv", *tokens.split())
    assert said.code == 0, said.err
    config = config_of(["products", "--data.path", "shop.csv", *tokens.split()])[2]
    assert config.model.branches == {"rooms": {"dims": [7, 5]}}
    assert (config.model.head.experts, config.model.fusion.node.heads) == (5, 4)
    assert (config.training.batch_size, config.training.epochs, config.training.lr) == (64, 3, 0.01)
    assert (config.task.loss, config.training.patience) == ("focal_smape", 7)
    kept = json.loads(Path("second/model/config.json").read_text())
    assert list(kept["data"]["sources"]) == ["photos", "rooms"]
    assert kept["model"]["branches"] == {"photos": {"dims": [11, 7]}}
