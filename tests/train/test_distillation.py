"""Distillation of similarities: the loss against a loop, its zeros, and a training with a teacher."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eval.evaluate import evaluate
from eval.settings import EvalSettings
from mtrl import MTRL, load_pretrained
from mtrl.data.imageset import ReIDData
from mtrl.losses import similarity_distillation
from mtrl.losses.total import LossWeights, TriLayout, total_loss
from mtrl.models.config import Modality, ModelConfig
from mtrl.models.reid import Features
from tests.helpers.runs import colour_people, same, settings
from train.preflight import check_runs
from train.publish import describe
from train.run.distributed import DistributedContext
from train.run.resume import check_folder
from train.teacher import Teacher
from train.trainer import Trainer


def rows(n: int, length: int, seed: int) -> Tensor:
    return torch.randn(n, length, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_loop(student: Tensor, teacher: Tensor, tau: float) -> float:
    """Row by row and place by place, as the file's equations say."""
    n, total = len(student), 0.0
    for i in range(n):
        shares = []
        for features in (teacher, student):
            near = {
                j: math.exp(float(F.cosine_similarity(features[i], features[j], dim=0)) / tau)
                for j in range(n)
                if j != i
            }
            shares.append({j: value / sum(near.values()) for j, value in near.items()})
        total += sum(p * math.log(p / shares[1][j]) for j, p in shares[0].items())
    return total / n


@pytest.mark.parametrize(("n", "tau"), [(3, 0.1), (7, 0.1), (12, 0.5)])
def test_equals_the_loop(n: int, tau: float) -> None:
    student, teacher = rows(n, 5, 1), rows(n, 8, 2)
    found = float(similarity_distillation(student, teacher, temperature=tau))
    assert found == pytest.approx(by_loop(student, teacher, tau), rel=1e-9) and found > 0.01


def test_zero_where_the_similarities_are_the_teachers() -> None:
    teacher = rows(6, 4, 0)
    turn, _ = torch.linalg.qr(rows(9, 4, 3))  # the same angles in another space, and other lengths
    scale = torch.linspace(0.5, 3, 6, dtype=torch.float64)[:, None]
    assert float(similarity_distillation(scale * teacher @ turn.T, teacher)) == pytest.approx(0, abs=1e-12)
    assert float(similarity_distillation(teacher.flip(0), teacher)) > 0.1
    for few in range(3):
        assert float(similarity_distillation(teacher[:few].float(), teacher[:few].float())) == 0


def test_gradient_is_the_derivative_and_none_reaches_the_teacher() -> None:
    student, teacher = rows(5, 4, 1).requires_grad_(), rows(5, 6, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: similarity_distillation(x, teacher.detach()), student)
    similarity_distillation(student, teacher).backward()
    assert teacher.grad is None and student.grad is not None and student.grad.any()


def test_half_precision_and_wrong_input() -> None:
    student, teacher = rows(6, 4, 1).float(), rows(6, 4, 2).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = similarity_distillation(student, teacher)
    assert inside.dtype == torch.float32 and torch.equal(inside, similarity_distillation(student, teacher))
    with pytest.raises(ValueError, match="6 rows of the student have 5 of the teacher"):
        similarity_distillation(student, teacher[:5])
    with pytest.raises(ValueError, match="temperature"):
        similarity_distillation(student, teacher, temperature=0)


def test_it_is_a_term_of_the_objective_from_the_first_step_on() -> None:
    layout = TriLayout.balanced(torch.tensor([0, 0, 1, 1]))
    student, teacher = rows(12, 4, 1).float(), rows(12, 6, 2).float()
    features = Features(student, student, student[:, :2])
    plain, _ = total_loss(features, layout, LossWeights(), ramp=0.0)
    loss, parts = total_loss(features, layout, LossWeights(distil_weight=2.5), ramp=0.0, teacher=teacher)
    assert float(parts["distil"]) == pytest.approx(float(similarity_distillation(student, teacher)))
    assert float(loss) == pytest.approx(float(plain + 2.5 * parts["distil"]), rel=1e-6)


def test_a_teacher_of_another_size_and_normalisation_sees_the_same_pictures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    other = ModelConfig("test_resnet", (64, 32), mean=(0.5,) * 3, std=(0.25,) * 3, stem="dual")
    teacher = MTRL(other).eval()
    with torch.no_grad():  # stems that differ, so that a wrong modality would show
        next(iter(teacher.backbone.stems[1].parameters())).mul_(-1.5)  # type: ignore[index,union-attr]
    teacher.save_pretrained(tmp_path)
    student = MTRL(ModelConfig("test_resnet", (32, 16)))
    ask, pixels = Teacher(str(tmp_path), student, torch.device("cpu")), torch.rand(4, 3, 32, 16)
    modality = torch.tensor([0, 1, 1, 0])
    found = F.normalize(ask(student.normalise(pixels), modality))
    enlarged = F.interpolate(pixels, (64, 32), mode="bilinear", antialias=True)
    for row, kind in enumerate(modality.tolist()):
        wanted = teacher.encode(enlarged[row : row + 1], Modality(kind))
        torch.testing.assert_close(found[row : row + 1], wanted, atol=1e-4, rtol=1e-4)
    assert not found.requires_grad and not any(p.requires_grad for p in ask.model.parameters())


@pytest.fixture(scope="module")
def data() -> ReIDData:
    return ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(5, 1, first=100))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("teacher")
    MTRL(ModelConfig("test_byobnet", (48, 24))).save_pretrained(folder)
    return folder


@torch.no_grad()
def similarity(model: nn.Module, images: Tensor) -> Tensor:
    features = F.normalize(model.eval()(images, Modality.VISIBLE).embedding)
    return features @ features.T


def test_a_training_learns_the_similarities_of_its_teacher(
    tmp_path: Path, data: ReIDData, teacher: Path
) -> None:
    runs = {}
    for name, distil in (("taught", {"distil": str(teacher), "distil_weight": 20.0}), ("alone", {})):
        run = settings(tmp_path / name, method="augmented", **distil, epochs=6, ema=0.0)
        trainer = Trainer(run, data)
        trainer.run()
        runs[name] = trainer.model
    pictures = torch.from_numpy(data.train.images[:40]).permute(0, 3, 1, 2) / 255
    model = load_pretrained(teacher)
    wanted = similarity(
        model, model.normalise(F.interpolate(pictures, (48, 24), mode="bilinear", antialias=True))
    )
    far = {
        name: float((similarity(own, own.normalise(pictures)) - wanted).abs().mean())
        for name, own in runs.items()
    }
    assert far["taught"] < 0.8 * far["alone"], far
    assert same_names(runs["taught"], runs["alone"])  # nothing is added to the network
    facts = json.loads((tmp_path / "taught" / "environment.json").read_text())
    assert facts["teacher"] == {"source": str(teacher), "fingerprint": model.fingerprint()}
    assert "teacher" not in json.loads((tmp_path / "alone" / "environment.json").read_text())
    records = [json.loads(line) for line in (tmp_path / "taught" / "metrics.jsonl").read_text().splitlines()]
    terms = [record["loss_distil"] for record in records if "loss_distil" in record]
    assert terms[-1] < terms[0]


def same_names(a: nn.Module, b: nn.Module) -> bool:
    return {n: v.shape for n, v in a.state_dict().items()} == {n: v.shape for n, v in b.state_dict().items()}


def test_a_taught_run_resumes_bit_for_bit(tmp_path: Path, data: ReIDData, teacher: Path) -> None:
    whole = settings(tmp_path / "whole", distil=str(teacher), epochs=2, schedule="step")
    Trainer(whole, data).run()
    halves = settings(tmp_path / "halves", distil=str(teacher), epochs=1, schedule="step")
    Trainer(halves, data).run()
    more = settings(tmp_path / "halves", distil=str(teacher), epochs=2, schedule="step", resume=True)
    Trainer(more, data).run()
    assert same(tmp_path / "whole", tmp_path / "halves")


def test_a_teacher_that_is_not_there_is_refused_before_the_training(tmp_path: Path) -> None:
    run = settings(tmp_path / "run", distil=str(tmp_path / "nobody"))
    with pytest.raises((ValueError, OSError), match="nobody"):
        check_runs([run])
    assert not (tmp_path / "run").exists()


def test_another_teacher_under_the_same_name_ends_a_resumed_run(
    tmp_path: Path, data: ReIDData, teacher: Path
) -> None:
    mine = tmp_path / "teacher"
    shutil.copytree(teacher, mine)
    Trainer(settings(tmp_path / "run", distil=str(mine), epochs=1, schedule="step"), data).run()
    torch.manual_seed(4)
    MTRL(ModelConfig("test_byobnet", (48, 24))).save_pretrained(mine)
    again = settings(tmp_path / "run", distil=str(mine), epochs=2, schedule="step", resume=True)
    with pytest.raises(ValueError, match="teacher changed since the run began"):
        Trainer(again, data).run()


def test_a_run_of_a_version_without_teachers_gets_none(tmp_path: Path, data: ReIDData, teacher: Path) -> None:
    Trainer(settings(tmp_path / "run", epochs=1, schedule="step"), data).run()
    path = tmp_path / "run" / "settings.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "distil" not in line))
    check_folder(settings(tmp_path / "run", epochs=2, schedule="step", resume=True))
    with pytest.raises(ValueError, match="belongs to a run with distil None"):
        check_folder(settings(tmp_path / "run", distil=str(teacher), epochs=2, schedule="step", resume=True))


def test_settings_of_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a teacher"):
        settings(tmp_path, distil_weight=2.0)
    with pytest.raises(ValueError, match="distil_weight must be positive"):
        settings(tmp_path, distil="runs/x", distil_weight=0.0)
    regdb = {"dataset": "regdb", "trial": "all"}
    with pytest.raises(ValueError, match="test identities of others"):
        settings(tmp_path / "{trial}", **regdb, distil="runs/one").runs()
    each = settings(tmp_path / "{trial}", **regdb, distil="runs/large-{trial}").runs()
    assert [run.teacher for run in each] == [f"runs/large-{number}" for number in range(1, 11)]


def test_the_card_names_the_teacher(tmp_path: Path, data: ReIDData, teacher: Path) -> None:
    run = settings(tmp_path / "run", distil=str(teacher), epochs=1)
    Trainer(run, data).run()
    report = evaluate(load_pretrained(tmp_path / "run"), data.test)
    facts = describe(tmp_path / "run", run, [(EvalSettings(), report)], "A name")
    assert facts.training["teacher"].startswith(f"{teacher}, fingerprint ")
    assert "distil 1.0" in facts.training["weights"] and str(teacher) not in facts.training["weights"]


def test_the_teachers_rows_are_gathered_as_the_features_are(
    tmp_path: Path, data: ReIDData, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Size] = []

    def gather_rows(self: DistributedContext, rows: Tensor, layout: TriLayout) -> Tensor:
        seen.append(rows.shape)
        return rows

    monkeypatch.setattr(DistributedContext, "gather_rows", gather_rows)
    Trainer(settings(tmp_path / "run", distil=str(teacher), epochs=1, batches=2), data).run()
    assert seen == [(18, MTRL(ModelConfig("test_byobnet", (48, 24))).dim)] * 2  # 3 x 2 images of three kinds
