"""A dressed body in a posture, as a list of parts in body coordinates."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtrl.data.synthetic.accessories import accessory_parts
from mtrl.data.synthetic.body import Body, Skeleton
from mtrl.data.synthetic.hair import head_parts
from mtrl.data.synthetic.raycast import Part
from mtrl.data.synthetic.shapes import ellipsoid, frame_along, limb, loft
from mtrl.data.synthetic.wardrobe import Outfit

SIDES = ("r", "l")


def figure_parts(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    """All parts of a person. The ground is y = 0, the pelvis is above the origin."""
    parts = [*_torso(body, outfit, skeleton), *_legs(body, outfit, skeleton), *_arms(body, outfit, skeleton)]
    parts += head_parts(body, outfit, skeleton)
    return parts + accessory_parts(body, outfit, skeleton)


def _torso(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    top, j = outfit.top, skeleton.joints
    axis = j["neck"] - j["pelvis"]
    trunk = float(np.linalg.norm(axis))
    frame = frame_along(axis, skeleton.torso[2])
    t, loose = top.thick, top.thick + top.loose
    # straight cuts fill the waist: the looser, the less it shows
    waist = body.waist + 0.9 * max(0.0, min(body.chest, body.hips) - body.waist) * min(1.0, loose / 0.05)
    spread = abs(float(j["knee_r"][2] - j["knee_l"][2])) / 2
    hem_share = float(np.clip((-top.hem - 0.10) / 0.35, 0, 1.2))
    hem_wide = body.hips + 0.8 * loose + 0.8 * top.flare
    hem_deep = 0.74 * body.hips + loose + 0.8 * top.flare + (0.12 + 0.75 * hem_share) * spread
    hip_wide, hip_deep = body.hips + 0.008 + loose + 0.4 * top.flare, 0.75 * body.hips + loose
    seat_wide = 0.99 * body.hips + 0.006 + loose
    seat_deep = 0.74 * body.hips + loose + 0.5 * body.belly
    ribs_deep, chest_deep = 0.70 * body.chest + 0.8 * loose, 0.70 * body.chest + 0.7 * loose + 0.5 * body.bust
    sections = [
        (top.hem, hem_wide, hem_deep, 0.0),
        (max(-0.03, top.hem + 0.03), hip_wide, hip_deep, -0.006),
        (0.10 * trunk, seat_wide, seat_deep, 0.4 * body.belly - 0.008),
        (0.36 * trunk, waist + loose, 0.72 * waist + loose + 0.6 * body.belly, 0.6 * body.belly),
        (0.56 * trunk, 0.5 * (waist + body.chest) + loose, ribs_deep, 0.3 * body.belly + 0.2 * body.bust),
        (0.70 * trunk, body.chest + 0.8 * loose, chest_deep, 0.45 * body.bust),
        (0.80 * trunk, 1.02 * body.shoulder + 0.3 * loose, 0.62 * body.chest + 0.5 * loose, -0.004),
        (0.885 * trunk, 0.98 * body.shoulder + 0.2 * loose, 0.50 * body.chest + t, -0.012),
        (0.945 * trunk, 0.72 * body.shoulder + t, 0.42 * body.chest + t, -0.014),
        (0.995 * trunk, 1.25 * body.neck + t, 1.15 * body.neck + t, -0.010),
        (1.04 * trunk, 0.96 * body.neck, 0.96 * body.neck, -0.004),
    ]
    if top.hem > -0.03:
        sections = sections[2:]
    parts = [loft(j["pelvis"], frame, sections, top.surface)]
    if outfit.bottom.kind == "skirt":
        parts.append(_skirt(body, outfit, skeleton, trunk))
    elif top.hem > -0.30:
        parts.append(_seat(body, outfit, skeleton, trunk))
    return parts


def _seat(body: Body, outfit: Outfit, skeleton: Skeleton, trunk: float) -> Part:
    h = body.hips
    sections = [
        (-0.15, 0.30 * h, 0.35 * h, -0.01),
        (-0.11, 0.72 * h, 0.58 * h, -0.012),
        (-0.04, 0.97 * h, 0.72 * h, -0.012),
        (0.04, 0.97 * h, 0.71 * h, -0.008),
        (0.22 * trunk, 0.88 * h, 0.62 * h, 0.0),
    ]
    return loft(skeleton.joints["pelvis"], skeleton.pelvis, sections, outfit.bottom.surface)


def _skirt(body: Body, outfit: Outfit, skeleton: Skeleton, trunk: float) -> Part:
    j, bottom = skeleton.joints, outfit.bottom
    leg = body.leg_share * body.height
    length = bottom.length * leg
    share = min(1.0, length / (0.5 * leg))
    reach = (
        max(abs(float(j["knee_r"][2] - j["pelvis"][2])), abs(float(j["knee_l"][2] - j["pelvis"][2]))) * share
    )
    middle = 0.5 * float(j["knee_r"][2] + j["knee_l"][2] - 2 * j["pelvis"][2]) * share
    h, flare = body.hips, bottom.flare
    sections = [
        (-length, h * 0.98 + flare, 0.62 * h + 0.9 * flare + 0.95 * reach, middle),
        (-0.5 * length, h + 0.012 + 0.45 * flare, 0.72 * h + 0.4 * flare + 0.55 * reach, 0.5 * middle - 0.01),
        (-0.02, h + 0.008, 0.75 * h, -0.012),
        (0.20 * trunk, 0.93 * h, 0.68 * h, 0.0),
        (0.36 * trunk, body.waist, 0.7 * body.waist, 0.0),
    ]
    return loft(j["pelvis"], skeleton.pelvis, sections, bottom.surface)


def _legs(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    parts: list[Part] = []
    s = body.limb * body.height / 1.72
    bottom, j = outfit.bottom, skeleton.joints
    cloth = bottom.length if bottom.kind != "skirt" else 0.0
    for side in SIDES:
        hip, knee, ankle = j["hip_" + side], j["knee_" + side], j["ankle_" + side]
        front = frame_along(knee - hip, j["toe_" + side])[2]
        thigh, shank = float(np.linalg.norm(knee - hip)), float(np.linalg.norm(ankle - knee))
        covered = cloth * (thigh + shank)
        w = bottom.wide
        top = min(0.086 * s + 0.5 * w, 0.50 * body.hips)
        if bottom.kind == "skirt" or covered < thigh:
            parts.append(limb(hip, knee, min(0.080 * s, 0.48 * body.hips), 0.052 * s, outfit.skin, front))
        if covered > 0:
            cut = covered if covered < thigh else 1e9
            low_wide = 0.058 * s + 0.8 * w + 0.020 * (bottom.kind == "shorts")
            parts.append(limb(hip, knee, top, low_wide, bottom.surface, front, 1.06, high=cut))
        if covered > thigh:
            cut = covered - thigh - 0.01
            wide, narrow = 0.057 * s + 0.8 * w, 0.043 * s + w
            parts.append(
                limb(knee, ankle, wide, narrow, bottom.surface, front, 1.05, high=cut, v_shift=thigh)
            )
            if w < 0.012:
                calf = knee + 0.30 * (ankle - knee) - 0.016 * front
                end = calf + 0.25 * (ankle - knee)
                parts.append(limb(calf, end, 0.052 * s, 0.045 * s, bottom.surface, front))
        if covered < thigh + 0.9 * shank:
            parts += _bare_shank(knee, ankle, s if covered < thigh else 0.8 * s, front, outfit)
        parts += _shoe(body, outfit, knee, ankle, j["toe_" + side])
    return parts


def _bare_shank(
    knee: np.ndarray, ankle: np.ndarray, s: float, front: np.ndarray, outfit: Outfit
) -> list[Part]:
    calf = knee + 0.30 * (ankle - knee) - 0.012 * front
    low = knee + 0.72 * (ankle - knee)
    parts = [
        limb(knee, calf, 0.050 * s, 0.053 * s, outfit.skin, front),
        limb(calf, low, 0.053 * s, 0.036 * s, outfit.skin, front),
    ]
    sock = outfit.sock if outfit.shoe_style == "sneaker" else outfit.skin
    return [*parts, limb(low, ankle, 0.0365 * s, 0.034 * s, sock, front)]


def _shoe(body: Body, outfit: Outfit, knee: np.ndarray, ankle: np.ndarray, toe: np.ndarray) -> list[Part]:
    h = body.height
    up = frame_along(toe, np.array([0.0, 1.0, 0.0]))
    up = np.stack([up[0], up[2], up[1]])  # side, up, forward
    base = ankle - 0.043 * h * up[1]
    chunky = {"sneaker": 1.0, "boot": 1.12, "flat": 0.85}[outfit.shoe_style]
    heel, ball = base - 0.022 * h * toe + 0.020 * h * up[1], base + 0.078 * h * toe + 0.013 * h * up[1]
    parts = [
        limb(heel, ball, 0.0265 * h * chunky, 0.0215 * h * chunky, outfit.shoe, up[1], flat=0.85),
        limb(
            base - 0.004 * h * toe + 0.030 * h * up[1],
            base + 0.045 * h * toe + 0.024 * h * up[1],
            0.026 * h * chunky,
            0.022 * h,
            outfit.shoe,
            up[1],
        ),
        limb(
            base - 0.024 * h * toe + 0.005 * h * up[1],
            base + 0.081 * h * toe + 0.005 * h * up[1],
            0.028 * h * chunky,
            0.0235 * h * chunky,
            outfit.sole,
            up[1],
            flat=0.26,
        ),
    ]
    if outfit.shoe_style == "boot":
        shaft = ankle + 0.45 * (knee - ankle)
        parts.append(limb(shaft, ankle, 0.036 * h, 0.029 * h, outfit.shoe, toe, low=0.0))
    return parts


def _arms(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    parts: list[Part] = []
    s = (0.5 + 0.5 * body.limb) * body.height / 1.72
    top, j, torso = outfit.top, skeleton.joints, skeleton.torso
    extra = 0.6 * top.thick + 0.25 * top.loose
    for side in SIDES:
        shoulder, elbow, wrist, hand = (
            j[f"{name}_{side}"] for name in ("shoulder", "elbow", "wrist", "hand")
        )
        upper, lower = float(np.linalg.norm(elbow - shoulder)), float(np.linalg.norm(wrist - elbow))
        covered = top.sleeve * (upper + lower)
        if covered < upper:
            parts.append(limb(shoulder, elbow, 0.047 * s, 0.039 * s, outfit.skin, torso[2]))
        if covered < upper + 0.93 * lower:
            parts.append(limb(elbow, wrist, 0.039 * s, 0.027 * s, outfit.skin, torso[2]))
        if covered > 0:
            tip = 0.043 * s + extra + (0.008 if top.sleeve < 0.6 else 0.0)
            parts.append(
                limb(
                    shoulder,
                    elbow,
                    0.047 * s + 0.8 * extra,
                    tip,
                    top.sleeve_surface,
                    torso[2],
                    high=covered if covered < upper else 1e9,
                )
            )
        if covered > upper:
            parts.append(
                limb(
                    elbow,
                    wrist,
                    0.042 * s + extra,
                    0.031 * s + 0.7 * extra,
                    top.sleeve_surface,
                    torso[2],
                    high=covered - upper,
                    v_shift=upper,
                )
            )
        frame = frame_along(hand - wrist, torso[0])
        h = body.height
        parts.append(
            ellipsoid(wrist + 0.62 * (hand - wrist), frame, (0.019 * h, 0.041 * h, 0.013 * h), outfit.skin)
        )
        thumb = wrist + 0.4 * (hand - wrist) + 0.017 * h * torso[2]
        parts.append(ellipsoid(thumb, frame, (0.010 * h, 0.024 * h, 0.008 * h), outfit.skin))
    return parts


def occluding(parts: list[Part]) -> list[Part]:
    """The same parts, marked as not belonging to the person of the image."""
    return [dataclasses.replace(part, person=0) for part in parts]
