"""Deliberate mistakes: (file, text that occurs there once, what stands there instead, the tests that must notice)."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutation:
    """One change of the source; `tests` are pytest arguments, run until the first failure."""

    path: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path}: {self.old.strip()} -> {self.new.strip()}"


def changes(path: str, tests: tuple[str, ...], *pairs: tuple[str, str]) -> tuple[Mutation, ...]:
    return tuple(Mutation(path, old, new, tests) for old, new in pairs)


LOSSES = ("tests/losses/test_losses.py", "tests/losses/test_properties.py")
TOTAL = ("tests/losses/test_total.py",)
DEEP = ("tests/files/test_deep_images.py",)
RANKING = ("tests/retrieval/test_ranking.py", "tests/retrieval/test_properties.py")
PROTOCOLS = ("tests/eval/test_protocols.py", "tests/eval/test_properties_protocols.py")
SAMPLER = ("tests/data/test_sampler.py", "tests/eval/test_properties_protocols.py")
SEARCH = ("tests/retrieval/test_gallery.py::test_search_equals_a_loop", "tests/retrieval/test_properties.py")
RERANK = ("tests/retrieval/test_properties.py", "tests/retrieval/test_rerank.py")
AUGMENT = ("tests/data/test_augment.py",)
BATCHES = ("tests/train/test_batches.py",)
TRANSLATE = ("tests/translate/test_properties.py", "tests/translate/test_translate.py")
OBJECTIVE = tuple(
    f"tests/train/test_translator.py::test_{name}"
    for name in (
        "adversarial_and_difference_equal_loops",
        "patch_contrast_equals_a_loop_and_teaches_one_side",
        "structure_equals_a_loop",
    )
)
MEASURES = ("tests/eval/test_translator_measures.py",)

SCAN = ("tests/files/test_scan.py",)
VIDEO = (
    "tests/data/video/test_boxes.py",
    "tests/data/video/test_crops.py",
    "tests/models/test_spectrum.py",
)
TRACKS = tuple(
    f"tests/retrieval/test_tracks.py::test_{name}"
    for name in ("pool_equals_a_loop", "every_track_gets_an_entry_behind_the_images")
)
COMPOSED = (
    "tests/retrieval/test_tracks.py::test_tracks_are_compared_in_the_composed_form_and_given_back_as_written",
)
KEPT_TRACKS = ("tests/retrieval/test_tracks.py::test_a_tracks_entry_is_always_the_mean_of_all_its_images",)
CROPS = ("tests/commands/test_photos.py", "tests/data/video/test_crops.py")
SHARED = ("tests/train/test_own_loss.py", "tests/train/test_distillation.py")
SERVICE = ("tests/commands/service/test_service.py", "tests/commands/service/test_requests.py")

FIELD = ("tests/losses/test_losses.py", "tests/losses/test_field_losses.py")
COMPARED = ("tests/eval/test_compare.py",)
DISTILLATION = ("tests/train/test_distillation.py",)
DEPTHWISE = ("tests/train/test_depthwise.py",)
MODALITY_EMBEDDING = ("tests/models/test_model.py", "tests/train/test_transformers.py")
PREDICTION = ("tests/train/test_predict.py",)
OWN_LOSS = ("tests/train/test_own_loss.py",)
TRANSFORMERS = ("tests/train/test_transformers.py",)

MUTATIONS: tuple[Mutation, ...] = (
    *changes(
        "mtrl/data/video/crops.py",
        VIDEO,
        ("seen < rules.min_inside", "seen < 0"),
        ("x0, y0 = max(0, round(box.x - more_x))", "x0, y0 = max(0, round(box.x + more_x))"),
    ),
    *changes("mtrl/data/video/boxes.py", VIDEO, ("self._next[0] == index + 1", "self._next[0] >= index + 1")),
    *changes(
        "mtrl/data/video/listing.py",
        VIDEO,
        ("os.truncate(part, size)", "os.truncate(part, part.stat().st_size)"),
    ),
    *changes("mtrl/data/video/listing.py", CROPS, ("{value_range[0]!r}", "{value_range[0]:g}")),
    *changes("mtrl/commands/crops.py", CROPS, ("limits if frame.scaled else None", "limits")),
    *changes(
        "mtrl/commands/photos.py",
        CROPS,
        ("if not (folder / each / LISTING).is_file():", "if not (folder / each).is_dir():"),
        ("is not Modality.VISIBLE", "is Modality.VISIBLE"),
    ),
    *changes(
        "mtrl/retrieval/stores/base.py",
        KEPT_TRACKS,
        ("if name not in new and track in touched", "if track in touched"),
        ("*(track for name, track in old if name in new)", "*()"),
    ),
    *changes(
        "mtrl/retrieval/stores/exact.py", KEPT_TRACKS, ("rows = np.union1d(rows, ", "np.union1d(rows, ")
    ),
    *changes("mtrl/retrieval/stores/milvus_rows.py", COMPOSED, ("= canonical(track)", "= track")),
    *changes(
        "mtrl/commands/service/incoming.py",
        SERVICE,
        ("    if unknown:\n", "    if len(unknown) > 1:\n"),
        ("    if empty:\n", "    if len(empty) > 1:\n"),
    ),
    *changes(
        "mtrl/models/spectrum.py",
        VIDEO,
        ("spread.mean() > _FALSE_SPREAD", "spread.mean() < _FALSE_SPREAD"),
    ),
    *changes(
        "mtrl/retrieval/tracks.py",
        TRACKS,
        ("(share / share.max()) @ rows", "rows.mean(0)"),
        ("key=lambda row: gallery.times[row] if gallery.times else row", "key=lambda row: row"),
    ),
    *changes(
        "mtrl/commands/service/batching.py",
        SERVICE,
        ("job.modality is batch[0].modality and size", "size"),
        ("if self._count + len(images) > self.waiting", "if len(images) > self.waiting"),
    ),
    *changes("mtrl/commands/service/access.py", SERVICE, ("if images > left:", "if left < 0:")),
    *changes(
        "mtrl/losses/field/hetero_center_triplet.py",
        FIELD,
        ("torch.relu(margin + gap - nearest)", "torch.relu(gap - nearest)"),
        (
            "centers, there = torch.cat([center_v, center_r])",
            "centers, there = torch.cat([center_v, center_v])",
        ),
        ("& there", "| there"),
    ),
    *changes(
        "mtrl/losses/field/msel.py",
        FIELD,
        ("(across - within).square()", "(across + within).square()"),
        ("& ~torch.eye(", "& torch.eye("),
    ),
    *changes(
        "mtrl/losses/field/dcl.py",
        FIELD,
        ("distance < foreign[:, None]", "distance > foreign[:, None]"),
        ("own / apart.clamp", "apart / own.clamp"),
    ),
    *changes(
        "mtrl/losses/field/cpm.py",
        FIELD,
        ("dim=1).detach()", "dim=1)"),
        ("for center in (center_t, center_v)", "for center in (center_t, center_r)"),
        ("pulled - near + margin", "pulled + near + margin"),
    ),
    *changes(
        "mtrl/losses/distillation.py",
        DISTILLATION,
        ("for x in (teacher.detach(), student)", "for x in (student, teacher.detach())"),
        ("teacher.detach()", "teacher"),
        ("features.T / temperature", "features.T"),
        ("n + 1)[:, :-1]", "n + 1)[:, 1:]"),
    ),
    *changes("train/teacher.py", DISTILLATION, ("images * self.std + self.mean", "images")),
    *changes(
        "mtrl/models/stem.py",
        MODALITY_EMBEDDING,
        ("1.0, -1.0)", "1.0, 1.0)"),
        ("if x.ndim == 3 or self.channels_last", "if x.ndim == 3"),
        ("(last and embed is None)", "False"),
    ),
    *changes(
        "mtrl/models/backbone.py",
        MODALITY_EMBEDDING,
        ("is not None and self.training:", "is not None:"),
    ),
    *changes(
        "train/depthwise.py",
        DEPTHWISE,
        ("(width, width, height, height)", "(height, height, width, width)"),
        ("larger = height > x.shape[2] or width > x.shape[3]", "larger = False"),
    ),
    *changes(
        "train/trainer.py",
        SHARED,
        ("self.context.share_gradients(", "list("),
        ("taught = self.context.gather_rows(taught, batch.layout)", "pass"),
        ('self.origins["teacher"] = self.teacher', 'self.origins["taught"] = self.teacher'),
    ),
    *changes(
        "train/bench/predict.py",
        PREDICTION,
        ("(1 + _STATE[settings.optimizer])", "_STATE[settings.optimizer]"),
        ("kept.pop(weight.untyped_storage()._cdata, None)", "pass"),
    ),
    *changes(
        "mtrl/losses/own.py",
        OWN_LOSS,
        ('"infrared_identities": labels[2]', '"infrared_identities": labels[0]'),
        ("part = copy.deepcopy(part)", "pass"),
        ("if self.name in RESERVED:", "if False:"),
    ),
    *changes(
        "train/build.py",
        ("tests/models/test_pretrained.py", "tests/train/test_init.py"),
        ("settings.pretrained if source is None", "settings.pretrained is True if source is None"),
        ('f"{name}.stride": list(part.stride)', "name: []"),
    ),
    *changes(
        "mtrl/translate/exchange.py",
        ("tests/losses/test_field_losses.py",),
        ("torch.randint(4,", "torch.randint(3,"),
    ),
    *changes(
        "eval/queries/compare.py",
        COMPARED,
        ("pair.a[metric] - pair.b[metric]", "pair.b[metric] - pair.a[metric]"),
        ("((signs @ difference) / whole)", "((signs @ np.abs(difference)) / whole)"),
        ("pair.seeds, -1).mean(axis=1)", "-1, pair.seeds).mean(axis=0)"),
    ),
    *changes(
        "train/optimizer.py",
        TRANSFORMERS,
        ("last - layers.get(name, last)", "layers.get(name, last)"),
    ),
    *changes(
        "mtrl/models/backbone.py",
        TRANSFORMERS,
        ("((size - patch) // stride + 1) * patch", "(size // stride) * patch"),
    ),
    *changes(
        "mtrl/files/scan.py",
        SCAN,
        ('name.startswith(".")', 'name.startswith("._")'),
        ("if home and not reason and not _lies_in", "if home and reason and not _lies_in"),
        ('known and kind != "special"', "known"),
    ),
    *changes(
        "mtrl/losses/distances.py",
        LOSSES,
        (
            "+ _contrast_rows(similarity.T, positive.T, candidates.T)",
            "+ _contrast_rows(similarity, positive, candidates)",
        ),
        ("-total / positive.sum(dim=1).clamp(min=1)", "-total"),
        ("similarity.masked_fill(~candidates, floor).logsumexp", "similarity.logsumexp"),
        ("/ valid.sum().clamp(min=1)", "/ max(1, len(valid))"),
        (
            "distance.masked_fill(~positive, -torch.inf).amax(dim=1)",
            "distance.masked_fill(~positive, torch.inf).amin(dim=1)",
        ),
        (
            "distance.masked_fill(~negative, torch.inf).amin(dim=1)",
            "distance.masked_fill(~negative, -torch.inf).amax(dim=1)",
        ),
        ("torch.relu(margin + farthest - nearest)", "torch.relu(farthest - nearest)"),
        ("positive.any(dim=1) & negative.any(dim=1)", "negative.any(dim=1)"),
        ("F.normalize(full(x), dim=1, eps=SMALLEST_NORM)", "full(x)"),
        ("x if x.dtype == torch.float64 else x.float()", "x"),
    ),
    *changes(
        "train/imagenet.py",
        ("tests/models/test_pretrained.py::test_names_go_by_position_after_a_look_at_each",),
        ("tensor.dtype == like.dtype", "True"),
        ('source.rpartition(".")[2] != name.rpartition(".")[2]', "False"),
    ),
    *changes(
        "train/settings.py",
        ("tests/models/test_pretrained.py::test_training_takes_normalisation_and_origin_from_the_file",),
        ("mean=own.mean or known.mean", "mean=known.mean"),
    ),
    *changes("mtrl/losses/identity.py", LOSSES, ("label_smoothing=smoothing", "label_smoothing=0.0")),
    *changes(
        "mtrl/losses/direct.py",
        LOSSES,
        ("unit_rows(infrared).T / temperature", "unit_rows(infrared).T * temperature"),
        ("candidates=torch.ones_like(same)", "candidates=~same"),
    ),
    *changes(
        "mtrl/losses/modality_center.py",
        LOSSES,
        ("_norms(center_t - center_r)", "_norms(center_v - center_r)"),
        ("has_v * has_r * _norms", "has_v * _norms"),
        ("torch.relu(margin + chain - nearest)", "torch.relu(margin - nearest)"),
        (".masked_fill(same, torch.inf)", ".masked_fill(torch.eye(len(same), dtype=torch.bool), torch.inf)"),
        ("/ (2 * has_v + has_r)[:, None]", "/ 3"),
        ("weight = 1 / same.sum(dim=1).to(v.dtype)", "weight = torch.ones_like(chain)"),
    ),
    *changes(
        "mtrl/losses/modality_query.py",
        LOSSES,
        ("unit_rows(transition).detach()", "unit_rows(transition)"),
        ("t @ r.T.detach()", "t @ r.T"),
        ("(log_p.exp() * (log_p - log_q))", "(log_q.exp() * (log_q - log_p))"),
        ("+ _divergence(teacher.T, student.T, as_gallery)", "+ _divergence(teacher, student, same)"),
        ("r.T.detach() / temperature", "r.T.detach()"),
        ("(more * same).sum(dim=1).gt(0)", "(more * same).sum(dim=1).lt(0)"),
        (
            "(more * same).sum(dim=1).gt(0) & (more * ~same).sum(dim=1).lt(0)",
            "(more * same).sum(dim=1).gt(1)",
        ),
        ("as_gallery = None if same is None else same.T", "as_gallery = None"),
    ),
    *changes(
        "mtrl/losses/modality_transition.py",
        LOSSES,
        ('if hop1 == "instance" else same_visible', 'if hop1 == "pixel" else same_visible'),
        ("hop(v, t, own, ~same_visible)", "hop(v, t, own, ~own)"),
        ("hop(t, r, same_infrared, ~same_infrared)", "hop(v, r, same_infrared, ~same_infrared)"),
        ("loss + direct_weight * direct_contrastive(", "loss + direct_contrastive("),
        ("positive, positive | negative)", "positive, negative)"),
    ),
    *changes(
        "mtrl/losses/triplet.py",
        LOSSES,
        ("F.softplus(gap * gap.abs()", "F.softplus(gap * gap"),
        (
            "_softmax_average(distance, -distance, ~positive)",
            "_softmax_average(distance, distance, ~positive)",
        ),
        ("score.masked_fill(~mask, torch.finfo(score.dtype).min)", "score * mask"),  # a common mistake
        ("(~positive).any(dim=1))", "positive.any(dim=1))"),
    ),
    *changes(
        "mtrl/losses/terms.py",
        TOTAL,
        ('"temperature": "query_temperature"', '"temperature": "temperature"'),
        ('"teachers": "query_teacher"', '"temperature": "query_temperature"'),
    ),
    *changes(
        "mtrl/losses/total.py",
        TOTAL,
        ("scale.get(name, ramp)", "scale.get(name, 1.0)"),
        ("field in term.options.items()}", "field in ()}"),
        ('"triplet": triplet_scale}', '"triplet": 1.0}'),
        ("else unit_rows(features.embedding)", "else features.embedding"),
    ),
    *changes(
        "mtrl/files/levels.py",
        DEEP,
        ("MARGIN * (float(high) - float(low))", "0 * (float(high) - float(low))"),
        ("(values != NO_DATA) & (np.abs(values) < limit)", "np.isfinite(values)"),
        ("while math.gcd(step, width) > 1:", "while False:"),
    ),
    *changes(
        "mtrl/files/deep.py",
        DEEP,
        ("    values |= low\n", ""),
        ("opacity = _opacity(values[:, :, 3], name) if", "opacity = None if"),
    ),
    *changes(
        "mtrl/labels/sequences.py",
        ("tests/labels/test_sequences.py",),
        (
            'return list(values) if hasattr(kind, "__iter__") else',
            "return",
        ),
    ),
    *changes(
        "mtrl/models/head.py",
        ("tests/models/test_model.py::test_gem_is_finite_and_between_mean_and_maximum",),
        (".pow(1 / GEM_POWER)", ".pow(1 / 2)"),
        ("x.clamp(min=_EPS)", "x"),
    ),
    *changes(
        "mtrl/labels/names.py",
        ("tests/labels/test_names.py",),
        ('else unicodedata.normalize("NFC", name)', "else name"),
        ("number if number <= MAX_INTEGER else None", "number"),
    ),
    *changes(
        "mtrl/files/table.py",
        ("tests/files/test_tables.py",),
        ("line = reader.line_num + 1", "line += 1"),
        ("if len(parts) > 1 and set(parts) & set(wanted):", "if False:"),
        ('return "" if text in MISSING else text', "return text"),
    ),
    *changes(
        "mtrl/files/metrics_log.py",
        ("tests/files/test_metrics_log.py",),
        ('type(record.get("step")) is int', 'isinstance(record.get("step"), int)'),
        ("path.stat().st_size > max_bytes", "path.stat().st_size >= max_bytes"),
    ),
    *changes(
        "mtrl/retrieval/stores/exact.py",
        ("tests/labels/test_names.py",),
        ("if canonical(name) not in new]", "if name not in new]"),
    ),
    *changes(
        "mtrl/data/sources/verify/files.py",
        ("tests/data/test_verify.py",),
        ("return upright_size(image)", "return image.size"),
        ("and not turned:", "and True:"),
    ),
    *changes(
        "mtrl/retrieval/metrics/ranking.py",
        RANKING,
        ("np.add.reduceat(order / ranks, begin)", "np.add.reduceat(1 / ranks, begin)"),
        ("count / ranks[begin + count - 1]", "1 / ranks[begin + count - 1]"),
        ("first[hit] = ranks[begin]", "first[hit] = ranks[begin + count - 1]"),
        ("before = distances < nearest[:, None]", "before = distances <= nearest[:, None]"),
        ("before[tied] = stable < first[tied, None]", "before[tied] = stable <= first[tied, None]"),
        ("num_queries if number == count - 1 else (number + 1) * step", "(number + 1) * step"),
        ('"regdb": "image"', '"regdb": "identity"'),
        ("again = slot[rows] >= 0", "again = slot[rows] > 0"),
        ("else (distances, dropped)", "else (distances,)"),
    ),
    *changes(
        "mtrl/retrieval/metrics/labels.py",
        RANKING,
        ("np.cumsum(hits) / np.count_nonzero(first)", "np.cumsum(hits) / len(first)"),
        ("float(np.nanmean(ap)),", "float(np.nansum(ap) / len(ap)),"),
        ("people[first > 0].tolist()", "people.tolist()"),
        ("if people is None:", "if True:"),
    ),
    *changes(
        "eval/baselines.py",
        ("tests/eval/test_baselines.py",),
        (
            "np.rint(images.images[start : start + _BLOCK] @ _LUMINANCE)",
            "images.images[start : start + _BLOCK, ..., 0]",
        ),
        ("np.random.default_rng(seed)", "np.random.default_rng(0)"),
        ("how=how, metric=metric,", "how=how,"),
    ),
    *changes(
        "eval/insight/people.py",
        ("tests/eval/test_insight.py",),
        ("modality=self.modality", 'modality="infrared"'),
    ),
    *changes(
        "train/data.py",
        ("tests/train/test_few_infrared.py",),
        ("generator.permutation(own)[:most]", "generator.permutation(own)[: most + 1]"),
        ("kept = [rows[~infrared]]", "kept = [rows]"),
    ),
    *changes(
        "mtrl/data/sources/m3svd.py",
        ("tests/data/test_m3svd.py",),
        ("own[len(own) - int(QUERY_SHARE * len(own)) :]", "own[int(QUERY_SHARE * len(own)) :]"),
        ("used += [(box, GALLERY) for box", "used += [(box, QUERY) for box"),
        ("_cut_out(frame.image, boxes[place], size, clip)", "_cut_out(frame.image, boxes[0], size, clip)"),
        ("if (width, height) != FRAME_SIZE:", "if False:"),
        ("clips[box.sequence],", "1,"),
    ),
    *changes(
        "mtrl/retrieval/metrics/labels.py",
        RANKING,
        ("2 if camera == 3 else camera", "2 if camera == 6 else camera"),
        (
            "self.query_code[part, None] == self.gallery_code",
            "self.query_code[part, None] != self.gallery_code",
        ),
        ('if self.skips == "llcm":', 'if self.skips == "sysu":'),
        ('return ~here if self.skips == "clip" else here', "return here"),
        ('if protocol != "regdb":', 'if protocol == "sysu":'),
    ),
    *changes(
        "mtrl/labels/reading.py",
        ("tests/labels/test_labels.py",),
        ("return canonical(value)", "return value"),
        ("if abs(value) >= exact:", "if abs(value) > exact:"),
        ("if len(kinds) > 1:", "if len(kinds) > 2:"),
    ),
    *changes(
        "mtrl/retrieval/metrics/rerank.py",
        RERANK,
        ("excess >= 0 if at_least", "excess > 0 if at_least"),
        ("else excess > 0)", "else excess >= 0)"),
        ("(1 - weight) * rows + weight * scaled", "weight * rows + (1 - weight) * scaled"),
        ("1 - common / (2 - common)", "1 - common"),
        ("np.exp(-scaled(part)", "np.exp(scaled(part)"),
        ("round(k1 / 2) + 1", "k1 // 2 + 1"),
    ),
    *changes(
        "mtrl/retrieval/nearest.py",
        SEARCH,
        ("scores.amax(1) > best[:, -1]", "scores.amax(1) > best[:, 0]"),
        ("start + columns if rows is None", "columns if rows is None"),
        ("values[:, -1:]).sum(1) > k)", "values[:, -1:]).sum(1) > k + 1)"),
    ),
    *changes(
        "eval/score.py",
        (
            "tests/eval/test_eval.py::test_modality_gap_by_loops",
            "tests/eval/test_eval.py::test_distances_by_loops",
        ),
        ("one_less(left[part] @ right.T)", "left[part] @ right.T"),
        ("enumerate((same, ~same))", "enumerate((~same, same))"),
    ),
    *changes(
        "eval/protocols.py",
        PROTOCOLS,
        ("INDOOR_CAMERAS = (1, 2)", "INDOOR_CAMERAS = (1, 4)"),
        (
            'query, gallery = (infrared, visible) if setting.direction == "ir2vis"',
            'query, gallery = (infrared, visible) if setting.direction != "ir2vis"',
        ),
        ("query[subsets[query] != 2]", "query[subsets[query] != 1]"),
        ("generator = random.Random(trial)", "generator = random.Random(0)"),
        ("for key in sorted(groups):", "for key in sorted(groups, key=lambda key: key[::-1]):"),
        ("generator.sample(rows, min(shots, len(rows)))", "rows[:shots]"),
        (
            "for camera, identity in sorted((camera, identity) for identity, camera in groups):",
            "for identity, camera in sorted(groups):",
        ),
        ("permutation[trial, :shots] - 1", "permutation[0, :shots] - 1"),
        ("[Trial(draw, query) for draw in draws]", "[Trial(query[:1], draw) for draw in draws]"),
        ("np.lexsort((cameras[rows], identities[rows]))", "np.lexsort((identities[rows], cameras[rows]))"),
    ),
    *changes(
        "mtrl/data/sampler.py",
        SAMPLER,
        ("people.draw(self.num_identities)", "rng.permutation(len(self.classes))[: self.num_identities]"),
        ("[fresh[~repeated], fresh[repeated]]", "[fresh[repeated], fresh[~repeated]]"),
        ("default_rng([self.seed, epoch])", "default_rng(self.seed)"),
        ("default_rng([self.seed, epoch])", "default_rng(epoch)"),
        ("if index >= start:", "if index > start:"),
        ("np.resize(self._rng.permutation(self._values), count)", "self._rng.choice(self._values, count)"),
        ("round(sum(map(len, self._visible))", "round(sum(map(len, self._infrared))"),
    ),
    *changes(
        "mtrl/data/augment/plan.py",
        AUGMENT,
        (
            "third = Draw(geometry[0], _colours(config, visible, generator))",
            "third = Draw(geometry[0], first.colours)",
        ),
        ("blur = draws[2] / 4 * (draws[3] < config.blur)", "blur = draws[2] / 4"),
    ),
    *changes(
        "mtrl/data/__init__.py",
        ("tests/data/test_sources.py",),
        ("if limits and not source.value_range:", "if limits and not source.verify:"),
    ),
    *changes(
        "mtrl/data/augment/per_image.py",
        BATCHES,
        ("for part in range(threads + 1)]", "for part in range(threads)] + [count - 1]"),
        ("mirrored[geometry.mirrored.numpy()] = True", "mirrored[geometry.mirrored.numpy()] = False"),
        ("geometry.top.numpy() - pad", "geometry.top.numpy()"),
        ("(1 - mean) / std] if limited", "(1 - mean) / std] if not limited"),
        ("(geometry.fill.numpy() - scale.mean)", "(geometry.fill.numpy())"),
        ("counts = [len(rows), ", "counts = ["),
    ),
    *changes(
        "mtrl/data/augment/kernels.py",
        BATCHES,
        ("min(max(y + down, 0), height - 1)", "min(max(y - down, 0), height - 1)"),
        ("_repeat(picture[row, width - 1], moved[y, last:])", "_repeat(picture[row, 0], moved[y, last:])"),
        ("_repeat(picture[row, 0], moved[y, :first])", "_repeat(picture[row, first], moved[y, :first])"),
        ("at = pixels - 1 - x", "at = x"),
        ("brightness * (1 - contrast) *", "(1 - contrast) *"),
        ("(1.0 if copied else matrix[:, channel].sum())", "1.0"),
        ("min(max(scaled, low[x]), high[x])", "max(scaled, low[x])"),
        ("value = pixels[x, channel]", "value = pixels[x, 0]"),
        (
            "matrix[channel, 0], matrix[channel, 1], matrix[channel, 2]",
            "matrix[0, channel], matrix[1, channel], matrix[2, channel]",
        ),
        ("out[number, top : top + tall]", "out[number, top:tall]"),
        ("if (matrix == np.eye(3)).all():", "if (matrix == matrix).all():"),
    ),
    *changes(
        "train/run/distributed.py",
        (
            "tests/train/test_distributed.py::test_identities_are_shared_without_overlap",
            "tests/eval/test_properties_protocols.py",
        ),
        (
            "own = slice(self.rank * length, (self.rank + 1) * length)",
            "own = slice(self.rank, None, self.size)",
        ),
    ),
    *changes(
        "mtrl/data/decode.py",
        ("tests/data/test_datasets_cache.py",),
        ("while part := file.read(_CHUNK):", "if part := file.read(384):"),
        ("digest.update(content.digest)", "digest.update(bytes(32))"),
        ("and now.digest == content.digest", ""),
    ),
    *changes(
        "mtrl/data/array_cache.py",
        ("tests/data/test_datasets_cache.py", "tests/data/test_synthetic_dataset.py"),
        ("return zlib.crc32(images[starts[number] : end].data) == checksum", "return True"),
        ("return state if zlib.crc32(data) == state.blocks[-1][1] else None", "return state"),
    ),
    *changes(
        "mtrl/data/transitions.py",
        ("tests/data/test_transitions.py",),
        ("if kind in (Learned, Luminance) and", "if isinstance(translator, (Learned, Luminance)) and"),
        ('if "fingerprint" not in vars(kind):', 'if not hasattr(kind, "fingerprint"):'),
    ),
    *changes(
        "mtrl/data/synthetic/dataset.py",
        ("tests/data/test_synthetic_dataset.py", "tests/data/test_synthetic_export.py"),
        ("drawn = [(person, camera, shot) for person, _, camera, shot in labels]", "drawn = len(labels)"),
        ('versions, code_digest("mtrl.data.synthetic.draw")]', "versions]"),
    ),
    *changes(
        "mtrl/data/synthetic/spectra.py",
        ("tests/data/test_thermal.py",),
        ("(camera + shot) % 2 == 0", "shot % 2 == 0"),
    ),
    *changes(
        "mtrl/data/synthetic/thermal/temperature.py",
        ("tests/data/test_thermal.py",),
        ("* still / (still + insulation)", "* still / (1 + insulation)"),
        ("or not part.surface.heat.bare", ""),
        ("return np.where(quilt > 0, np.exp(", "return np.where(quilt > 9, np.exp("),
    ),
    *changes(
        "mtrl/data/synthetic/thermal/sensor.py",
        ("tests/data/test_thermal.py",),
        ("np.percentile(frame, (low, high))", "(frame.min(), frame.max())"),
    ),
    *changes(
        "mtrl/data/synthetic/export.py",
        ("tests/data/test_synthetic_export.py",),
        ("3: 2, 6: 5}", "3: 7, 6: 8}"),
        ("np.linspace(0, len(rows) - 1, REGDB_IMAGES)", "np.linspace(0, len(rows) - 1, len(rows))"),
    ),
    *changes(
        "mtrl/console/settings_file.py",
        ("tests/console/test_settings_file.py",),
        ("elif on == action.const:", "else:"),
        ('yield from ([f"{flag}={word}"] for word in words)', 'yield [f"{flag}={words[0]}"]'),
    ),
    *changes(
        "train/presets.py",
        ("tests/train/test_presets.py",),
        ("if key not in decided}", "if key not in preset}"),
        ("defaults[key] for key in former", "defaults[key] for key in ()"),
        ("**dict.fromkeys(TERMS, 0.0)", "**dict.fromkeys(TERMS, 1.0)"),
        ("and key not in flags", ""),
    ),
    *changes(
        "train/optimizer.py",
        ("tests/train/test_train.py::test_tokens_of_position_and_class_do_not_decay",),
        ("parameter.ndim > 1 and name not in exempt", "parameter.ndim > 1"),
    ),
    *changes(
        "mtrl/data/sources/sysu.py",
        ("tests/data/test_datasets.py::test_sysu",),
        ("INFRARED_CAMERAS = (3, 6)", "INFRARED_CAMERAS = (6,)"),
    ),
    *changes(
        "mtrl/data/sources/regdb.py",
        ("tests/data/test_datasets.py::test_regdb_trials",),
        ("{Modality.VISIBLE: 1, Modality.INFRARED: 2}", "{Modality.VISIBLE: 2, Modality.INFRARED: 1}"),
        ("_{trial}.txt", "_1.txt"),
    ),
    *changes(
        "mtrl/data/sources/llcm.py",
        (
            "tests/data/test_datasets.py::test_llcm",
            "tests/data/test_datasets.py::test_camera_of_an_llcm_name",
        ),
        ("Modality.INFRARED: (1, 2, 4, 5, 6, 7, 8, 9)}", "Modality.INFRARED: tuple(range(1, 10))}"),
        (r'r"c([0-9]{1,3})"', r'r"cam([0-9]{1,3})"'),
    ),
    *changes(
        "mtrl/translate/photometric.py",
        (*TRANSLATE, *AUGMENT),
        ("(0.299, 0.587, 0.114)", "(0.299, 0.114, 0.587)"),
        ("torch.lerp(mean, images, spread)", "torch.lerp(images, mean, spread)"),
        ("(before + after) / 2, 2 * share)", "(before + after) / 2, share)"),
        ("columns[j] * images[:, j : j + 1]", "columns[j] * images[:, :1]"),
        ("shape = (len(images), 1, *images.shape[2:])", "shape = (len(images), 3, *images.shape[2:])"),
    ),
    *changes(
        "mtrl/translate/luminance.py",
        TRANSLATE,
        ("LUMA[1] * green + LUMA[2] * blue", "LUMA[2] * green + LUMA[1] * blue"),
    ),
    *changes(
        "mtrl/translate/spectral.py",
        TRANSLATE,
        ("(0.5, 0.35, 0.15)", "(0.15, 0.35, 0.5)"),
        ("grey * grey * (3 - 2 * grey)", "grey * grey * (2 - grey)"),
        ("low + (high - low) * draws[0]", "high"),
        ("raw / raw.sum(dim=1, keepdim=True)", "raw"),
        ("NOISE * draws[3]", "3 * NOISE * draws[3]"),
        ("BLUR * draws[2]", "BLUR"),
    ),
    *changes(
        "mtrl/translate/learned.py",
        (
            "tests/translate/test_files.py::test_an_untrained_network_is_luminance_and_the_default_has_one_to_three_million_weights",
            "tests/translate/test_files.py::test_any_size_keeps_shape_type_and_range",
            "tests/translate/test_files.py::test_images_are_seen_at_the_height_of_training",
        ),
        ("luminance(images) + self.correction(images)", "self.correction(images)"),
        (
            "_resize(self.correction(_resize(images, size))",
            "_resize(self.predict(_resize(images, size))",
        ),
        ("self.config.height / height, _LARGEST_SCALE", "self.config.height / height, 40.0"),
        ("reversed(features[: len(self.down)])", "reversed(features[1 : len(self.down) + 1])"),
    ),
    *changes(
        "train/translator/objective/adversarial.py",
        OBJECTIVE,
        ("(translated - 1).square()", "(translated + 1).square()"),
        ("(infrared - 1).square()", "infrared.square()"),
    ),
    *changes("train/translator/objective/difference.py", OBJECTIVE, (".abs().mean()", ".square().mean()")),
    *changes(
        "train/translator/objective/patch_contrast.py",
        OBJECTIVE,
        ("source.detach()", "source"),
        (".transpose(1, 2)) / temperature", ".transpose(1, 2))"),
    ),
    *changes(
        "train/translator/objective/structure.py",
        OBJECTIVE,
        ("gx * hx + gy * hy + floor", "gx * hx - gy * hy + floor"),
        ("1 - product.square()", "1 - product"),
    ),
    *changes(
        "train/translator/targets.py",
        ("tests/train/test_translator_targets.py",),
        ("torch.stack([even, -odd], dim=1)", "torch.stack([even, odd], dim=1)"),
        ("(x * x - y * y).sum(dim=1) / length, (2 * x * y)", "(x * x - y * y).sum(dim=1) / length, (x * y)"),
        ("self.place[visible] = np.arange(len(visible))", "self.place[visible] = visible"),
        ("pixels[:, :, ::-1], pixels)", "pixels[:, ::-1], pixels)"),
        ("torch.randint(count,", "torch.randint(1,"),
    ),
    *changes(
        "train/translator/loop.py",
        ("tests/train/test_translator_targets.py",),
        ('"truth" if settings.paired else "match"', '"truth"'),
    ),
    *changes(
        "eval/translation/similarity.py",
        MEASURES,
        ("(2 * both + C2)", "(both + C2)"),
        ("-10 * torch.log10", "-20 * torch.log10"),
    ),
    *changes("eval/translation/frechet.py", MEASURES, ("- 2 * cross)", "- cross)")),
    *changes("eval/translation/alignment.py", MEASURES, ("x - x.mean(dim=1, keepdim=True)", "x")),
    *changes(
        "mtrl/hub/checkout.py",
        ("tests/hub/test_space.py",),
        ('name[0].islower() or name[0] == "S"', "False"),
        ("if not listed and top != root:", "if not listed:"),
        ("if name not in _REDIRECTING", ""),
    ),
    *changes(
        "mtrl/models/head.py",
        ("tests/models/test_model.py::test_the_default_pooling_follows_the_backbone",),
        ('"avg" if bool((x < 0).any()) else "gem"', '"gem"'),
        ('class_token and timm_pool == "token"', "class_token"),
    ),
    *changes(
        "mtrl/files/lock.py",
        ("tests/files/test_lock.py",),
        ("flags if follow_links else flags | os.O_NOFOLLOW", "flags"),
        ("yield descriptor is not None", "yield True"),
    ),
    *changes(
        "mtrl/models/checkpoint/weights.py",
        ("tests/models/test_checkpoint.py", "tests/translate/test_files.py"),
        ("if own != config:", "if False:"),
        ('("has unknown", found.keys() - expected.keys()),', ""),
        ("if tensor_digest(tensors) != digest:", "if False:"),
    ),
    *changes(
        "mtrl/models/card.py",
        ("tests/models/test_checkpoint.py::test_card_front_matter_is_yaml_with_the_figures",),
        ("dataset_config=result.setting,", ""),
    ),
    *changes(
        "mtrl/demo/service/thresholds.py",
        ("tests/demo/test_verdict.py",),
        ("np.quantile(scores, 1 - ABSENT)", "np.quantile(scores, ABSENT)"),
        ("if threshold is None or known:", "if threshold is None or not known:"),
        ("len(scores) < LEAST_SEARCHES", "not len(scores)"),
    ),
    *changes(
        "mtrl/demo/html/cards.py",
        ("tests/demo/test_verdict.py::test_results_after_the_last_right_one_are_not_called_wrong",),
        ("hit.rank > result.last_right", "hit.rank >= result.last_right"),
    ),
    *changes(
        "mtrl/demo/service/service.py",
        ("tests/demo/test_search.py",),
        ("any(same_room(one, entry)", "all(same_room(one, entry)"),
        ("torch.stack(features).mean(dim=0)", "features[0]"),
    ),
    *changes(
        "mtrl/demo/tabs/people.py",
        ("tests/demo/test_people.py",),
        ("            with self._alone:\n", "            if True:\n"),
        ("key = CURRENT.get().session, digest(picture)", "key = None, digest(picture)"),
        ("if key[0] in self._ended:", "if False:"),
        ("self._found.move_to_end(key)", "pass"),
        ("edges[:, 2:] - edges[:, :2] >= LEAST_PART", "edges[:, 2:] - edges[:, :2] >= 0"),
    ),
    *changes(
        "mtrl/demo/html/people.py",
        ("tests/demo/test_people.py",),
        ("FILLING * picture.width and", "FILLING * picture.width or"),
        ("for box in boxes if box in largest", "for box in largest"),
    ),
    *changes(
        "mtrl/demo/tabs/search.py",
        ("tests/demo/test_people.py",),
        ("if of is not None and of !=", "if False and of !="),
        ("if self.galleries.hold(picture) else", "if False else"),
    ),
    *changes(
        "mtrl/demo/service/distances.py",
        ("tests/demo/test_tabs.py::test_random_weights_are_drawn_for_one_network_at_a_time",),
        ("with _seeded, torch.", "with torch."),
    ),
    *changes(
        "mtrl/demo/tabs/address.py",
        ("tests/demo/test_search.py",),
        (
            'said["gallery"] if said.get("gallery") in galleries.names',
            'said["gallery"] if said.get("gallery")',
        ),
        ('said["model"] if models.is_ready(said.get("model"))', 'said["model"] if said.get("model")'),
    ),
    *changes(
        "mtrl/demo/tabs/search.py",
        ("tests/demo/test_search.py",),
        (' if pair[0] != "tab"', ""),
        ("UPLOADS.original(image)", "image"),
        ('"" if settings.second == self.models.home.name else settings.second', "settings.second"),
        ("self._taken(self.models.home.service,", "self._taken(self.searched(others, *values),"),
    ),
    *changes(
        "mtrl/demo/tabs/parts.py",
        ("tests/demo/test_tabs.py::test_what_is_made_for_one_service_keeps_no_other_waiting",),
        ("if not once.made:", "if True:"),
    ),
    *changes(
        "mtrl/demo/server/fair_queue.py",
        (
            "tests/demo/test_page_shares.py::test_calls_that_nobody_waits_for_hold_no_places_though_nothing_can_begin",
        ),
        ("self._drop_abandoned()  # they hold no places", "pass"),
    ),
    *changes(
        "mtrl/models/evidence.py",
        ("tests/demo/test_search.py::test_places_are_cosines_of_the_feature_map",),
        ("cij,cmn->ijmn", "cij,cmn->mnij"),
    ),
    *changes(
        "mtrl/demo/service/model_cost.py",
        (
            "tests/demo/test_models.py::test_the_cost_is_that_of_the_formulas",
            "tests/demo/test_models.py::test_a_page_with_few_images_takes_no_slower_models",
        ),
        ("max(self.largest, size)", "size"),
        ("cost.seconds * images > MAX_SECONDS", "cost.seconds > MAX_SECONDS"),
    ),
    *changes(
        "mtrl/demo/server/uploads.py",
        ("tests/demo/test_page_shares.py::test_the_oldest_of_whoever_has_most_make_room",),
        ("while self._taken.total() > self.most:", "while False:"),
        (" and path != spared", ""),
    ),
    *changes(
        "mtrl/demo/service/model_files.py",
        ("tests/demo/test_query_hints.py::test_a_card_that_links_out_of_its_folder_is_not_shown",),
        ('read_limited(folder / CARD, MAX_CARD, "replace")', "(folder / CARD).read_text()"),
        ("read_records(inside(folder / METRICS)", "read_records((folder / METRICS)"),
    ),
    *changes(
        "mtrl/files/tensor_file.py",
        ("tests/models/test_wrappers.py::test_equal_content_gives_equal_bytes",),
        ("dict(sorted(metadata.items()))", "header['__metadata__']"),
    ),
    *changes(
        "train/publish.py",
        (
            "tests/train/test_publish.py::test_a_run_of_a_split_is_tested_on_its_own",
            "tests/train/test_publish.py::test_a_card_with_other_test_sets",
        ),
        ("trial = settings.trial if own else test.trial", "trial = test.trial"),
        (
            "for test in chosen for evaluation in measure(test)[0]",
            "for test in chosen for evaluation in measure(chosen[0])[0]",
        ),
    ),
    *changes(
        "eval/translation/sample.py",
        ("tests/eval/test_translator_command.py::test_real_pairs_are_of_the_same_box",),
        ("[place[boxes[row]] for row", "[row for row"),
    ),
    *changes(
        "train/ablation/gains.py",
        ("tests/train/test_ablate.py::test_real_people_are_a_further_column",),
        ("for s in seeds] for r in (row, control)))", "for s in seeds] for r in (control, row)))"),
    ),
    *changes(
        "mtrl/demo/service/gallery_folder.py",
        (
            "tests/demo/test_search.py::test_examples_stand_apart_by_spectrum",
            "tests/demo/test_demo.py::test_galleries_that_cannot_be_used_say_why",
        ),
        ('spectrum=entry.get("spectrum")', "spectrum=None"),
        ("spectra = SPECTRUM_NAMES if modality is Modality.INFRARED else ()", "spectra = SPECTRUM_NAMES"),
    ),
    *changes(
        "mtrl/models/load.py",
        ("tests/models/test_checkpoint.py",),
        ("and not expanded(source).is_dir() else None", "else None"),
    ),
    *changes(
        "train/run/log.py",
        ("tests/train/test_preflight.py::test_a_resumed_run_is_the_same_experiment",),
        ('[*facts.get("continued", []), f"from', '[f"from'),
    ),
    *changes(
        "train/ablation/kept_result.py",
        ("tests/train/test_ablate.py::test_real_people_are_a_further_column",),
        ("now = made_by(settings, test_seed, real)", "now = made_by(settings, test_seed, None)"),
    ),
    *changes(
        "train/run/origins.py",
        ("tests/train/test_origins.py",),
        ("if before and after and before != after:", "if False:"),
        ("for labels in (images.identities, images.cameras, images.modalities):", "for labels in ():"),
    ),
    *changes(
        "mtrl/data/code_digest.py",
        ("tests/data/test_code_digest.py",),
        ('{package.partition(".")[0], _BASE}', '{package.partition(".")[0]}'),
    ),
    *changes(
        "train/ablation/test_sets.py",
        ("tests/train/test_origins.py",),
        ('load(settings, ("test",), test_seed).test.digest()', "str(settings.data_root)"),
    ),
    *changes(
        "train/ablation/one_run.py",
        ("tests/train/test_origins.py",),
        ("not is_trained(folder)", "True"),
    ),
    *changes(
        "train/preflight.py",
        ("tests/train/test_origins.py",),
        ("and split != run.trial", "and False"),
    ),
    *changes(
        "mtrl/data/video/frames.py",
        ("tests/data/video/test_frames.py",),
        ("index += missing", "pass"),
        ("first = _start(stream) if pending else None", "first = None"),
    ),
    *changes(
        "eval/translation/sample.py",
        (
            "tests/eval/test_translator_command.py::test_a_split_of_regdb_is_measured_on_its_own_test_identities",
        ),
        ("trial=settings.trial", "trial=1"),
    ),
    *changes(
        "mtrl/retrieval/stores/faiss_store.py",
        ("tests/retrieval/test_store_changes.py::test_replaced_entries_are_found_by_their_new_features",),
        (
            "torch.equal(gallery.features[: len(before)], before.features)",
            "gallery.names[: len(before)] == before.names",
        ),
    ),
    *changes(
        "mtrl/retrieval/stores/factory.py",
        ("tests/retrieval/test_store_changes.py::test_no_store_hides_another",),
        ('(Path(target) / TABLE).exists() if kind == "milvus" else is_milvus(target)', "False"),
    ),
    *changes(
        "mtrl/retrieval/image_folders.py",
        ("tests/commands/test_commands.py::test_an_index_written_anew_forgets_its_old_folders",),
        ("    if anew:", "    if False:"),
    ),
    *changes(
        "mtrl/commands/photos.py",
        ("tests/commands/test_commands.py::test_single_images_keep_their_names",),
        ("root = source if source.is_dir() else source.parent", "root = source"),
    ),
    *changes(
        "mtrl/models/pretrained.py",
        ("tests/models/test_pretrained.py::test_weights_of_other_names_are_refused",),
        ("missing = wanted - weights.keys()", "missing = set[str]()"),
    ),
    *changes(
        "mtrl/files/filenames.py",
        ("tests/train/test_publish.py::test_a_card_does_not_name_the_home_folder",),
        ("Path(home) == Path(Path(home).anchor)", "False"),
    ),
    *changes(
        "mtrl/demo/service/service.py",
        ("tests/demo/test_galleries.py::test_a_picture_of_an_index_is_recognised_by_the_first_visitor",),
        ("if key not in self.known and is_index(self.folder):", "if False:"),
    ),
)
