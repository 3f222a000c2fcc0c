"""The shape of a body, its way of walking, and the joints of a posture.

Body coordinates in metres: x to the person's right, y up, z to the front; the ground is y = 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.difficulty import Difficulty

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Body:
    """Lengths in metres (half widths for `shoulder`, `hips`, `waist`), gait in radians or as factors."""

    height: float
    feminine: float
    leg_share: float
    shoulder: float
    chest: float
    waist: float
    hips: float
    belly: float
    bust: float
    limb: float
    head: float
    neck: float
    stride: float
    swing: float
    lean: float
    foot_turn: float
    elbow: float
    sway: float


@dataclasses.dataclass(frozen=True)
class Pose:
    """One moment: walking phase and amplitude, posture of arms ("swing" | "phone" | "pocket" | "front" | "call")."""

    phase: float
    amplitude: float
    arms: tuple[str, str]
    head_turn: float
    head_nod: float
    lean: float
    twist: float
    arm_spread: float


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Joint positions [3] by name, and frames (rows: right, up, front) of pelvis, torso and head.

    Limbs of side s ("r", "l"): hip, knee, ankle, toe_s (direction), shoulder, elbow, wrist, hand.
    """

    joints: dict[str, Array]
    pelvis: Array
    torso: Array
    head: Array


def draw_body(rng: np.random.Generator, difficulty: Difficulty) -> Body:
    """A random adult. Spread follows `difficulty.body_spread`."""
    s = difficulty.body_spread
    feminine = float(rng.random() < 0.5)
    n = lambda mean, deviation: float(mean + s * deviation * np.clip(rng.standard_normal(), -2.2, 2.2))  # noqa: E731
    height = n(1.76 - 0.12 * feminine, 0.065)
    build = n(0.0, 1.0)
    scale = height / 1.72
    return Body(
        height=height,
        feminine=feminine,
        leg_share=n(0.520, 0.012),
        shoulder=scale * n(0.182 - 0.018 * feminine + 0.007 * build, 0.010),
        chest=scale * n(0.158 - 0.012 * feminine + 0.012 * build, 0.008),
        waist=scale * n(0.140 - 0.016 * feminine + 0.019 * build, 0.009),
        hips=scale * n(0.162 + 0.007 * feminine + 0.011 * build, 0.008),
        belly=scale * max(0.0, n(0.004 + 0.018 * max(build, 0), 0.012)),
        bust=feminine * scale * n(0.024, 0.008),
        limb=n(1.0 - 0.05 * feminine + 0.08 * build, 0.05),
        head=n(1.0, 0.035),
        neck=scale * n(0.056 - 0.008 * feminine + 0.004 * build, 0.003),
        stride=max(0.4, n(0.95, 0.2)),
        swing=max(0.15, n(0.85, 0.35)),
        lean=n(0.035, 0.035),
        foot_turn=n(0.13, 0.10),
        elbow=max(0.05, n(0.30, 0.14)),
        sway=n(0.03, 0.02),
    )


def draw_pose(rng: np.random.Generator, difficulty: Difficulty, carry: tuple[bool, bool]) -> Pose:
    """A random moment. `carry`: whether the right and the left hand hold a bag (then that arm hangs)."""
    v = difficulty.pose_variation
    standing = rng.random() < 0.25
    amplitude = (
        float(rng.uniform(0.0, 0.15)) if standing else float(np.clip(rng.normal(0.9, 0.2 * v), 0.4, 1.3))
    )
    names, chances = ("swing", "phone", "pocket", "front", "call"), np.array([0.70, 0.10, 0.12, 0.05, 0.03])
    arms = []
    for held in carry:
        name = str(rng.choice(names, p=chances)) if rng.random() < v else "swing"
        arms.append("hang" if held else name)
    return Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        amplitude=amplitude,
        arms=(arms[0], arms[1]),
        head_turn=v * float(rng.normal(0, 0.28)),
        head_nod=v * float(rng.normal(0.08, 0.13)),
        lean=v * float(rng.normal(0, 0.025)),
        twist=v * float(rng.normal(0, 0.06)),
        arm_spread=float(rng.uniform(0.05, 0.16)),
    )


def _turn(frame: Array, axis: int, angle: float) -> Array:
    """Rows of `frame` rotated about its own row `axis`."""
    one, two = (axis + 1) % 3, (axis + 2) % 3
    out = frame.copy()
    out[one] = np.cos(angle) * frame[one] + np.sin(angle) * frame[two]
    out[two] = np.cos(angle) * frame[two] - np.sin(angle) * frame[one]
    return out


def _swing(frame: Array, forward: float, outward: float) -> Array:
    """Direction of a limb that hangs down, lifted `forward` and `outward` (signed towards +x)."""
    local = np.array([np.sin(outward), -np.cos(outward) * np.cos(forward), np.cos(outward) * np.sin(forward)])
    return local @ frame


def pose_skeleton(body: Body, pose: Pose) -> Skeleton:
    """Forward kinematics; the lower foot touches the ground."""
    phase, amplitude = pose.phase, pose.amplitude * body.stride
    pelvis = _turn(np.eye(3), 1, 0.10 * amplitude * np.cos(phase))
    pelvis = _turn(pelvis, 2, body.sway * pose.amplitude * np.sin(phase))
    torso = _turn(np.eye(3), 0, body.lean + pose.lean)
    torso = _turn(torso, 1, -0.12 * amplitude * body.swing * np.cos(phase) + pose.twist)
    head = _turn(_turn(np.eye(3), 1, pose.head_turn), 0, pose.head_nod + 0.5 * body.lean)
    joints: dict[str, Array] = {"pelvis": np.zeros(3)}
    _pose_legs(body, phase, amplitude, pelvis, joints)
    _pose_torso(body, torso, head, joints)
    for index, side in enumerate("rl"):
        _pose_arm(body, pose, side, pose.arms[index], torso, joints)
    ground = min(joints["ankle_" + side][1] for side in "rl") - 0.043 * body.height
    for name in joints:
        if not name.startswith("toe"):
            joints[name] = joints[name] - np.array([0.0, ground, 0.0])
    return Skeleton(joints, pelvis, torso, head)


def _pose_legs(body: Body, phase: float, amplitude: float, pelvis: Array, joints: dict[str, Array]) -> None:
    leg = body.leg_share * body.height - 0.043 * body.height
    for side, sign, p in (("r", 1.0, phase), ("l", -1.0, phase + np.pi)):
        hip = (sign * 0.52 * body.hips * pelvis[0]) - 0.01 * pelvis[1]
        forward = 0.40 * amplitude * np.cos(p) + 0.05 * amplitude
        bend = 0.06 + 0.95 * amplitude * max(0.0, -np.sin(p)) ** 1.4 + 0.10 * amplitude * max(0.0, np.sin(p))
        knee = hip + 0.505 * leg * _swing(np.eye(3), forward, sign * 0.015)
        shank = forward - bend
        ankle = knee + 0.495 * leg * _swing(np.eye(3), shank, 0.0)
        pitch = 0.75 * min(shank + 0.12, 0.0) + 0.25 * amplitude * max(0.0, np.cos(p) - 0.75)
        turn = sign * body.foot_turn
        toe = np.array([np.sin(turn) * np.cos(pitch), np.sin(pitch), np.cos(turn) * np.cos(pitch)])
        joints.update({f"hip_{side}": hip, f"knee_{side}": knee, f"ankle_{side}": ankle, f"toe_{side}": toe})


def _pose_torso(body: Body, torso: Array, head: Array, joints: dict[str, Array]) -> None:
    trunk = (0.835 - body.leg_share) * body.height
    neck = trunk * torso[1]
    joints["neck"] = neck
    joints["skull"] = (
        neck + 0.045 * body.height * torso[1] + body.height * (0.062 * head[1] + 0.010 * head[2])
    )
    for side, sign in (("r", 1.0), ("l", -1.0)):
        joints["shoulder_" + side] = (
            neck - 0.060 * body.height * torso[1] + sign * 0.97 * body.shoulder * torso[0]
        )


def _pose_arm(
    body: Body, pose: Pose, side: str, posture: str, torso: Array, joints: dict[str, Array]
) -> None:
    sign = 1.0 if side == "r" else -1.0
    phase = pose.phase + (0.0 if side == "r" else np.pi)
    forward = -0.42 * pose.amplitude * body.swing * np.cos(phase) + 0.02
    outward, bend, inward = (
        pose.arm_spread,
        body.elbow + 0.25 * pose.amplitude * max(0.0, -np.cos(phase)),
        0.1,
    )
    if posture == "phone":
        forward, outward, bend, inward = 0.45, 0.12, 1.75, 0.55
    elif posture == "call":
        forward, outward, bend, inward = 0.65, 0.40, 2.45, 0.35
    elif posture == "pocket":
        forward, outward, bend, inward = -0.30, 0.30, 0.75, 0.75
    elif posture == "front":
        forward, outward, bend, inward = 0.15, 0.15, 1.35, 0.80
    elif posture == "hang":
        forward, outward, bend = 0.25 * forward, 0.10, 0.10
    shoulder = joints["shoulder_" + side]
    upper = _swing(torso, forward, sign * outward)
    elbow = shoulder + 0.178 * body.height * upper
    lower = _swing(torso, forward + bend, sign * (outward - inward * min(bend, 1.0)))
    wrist = elbow + 0.142 * body.height * lower
    joints.update(
        {f"elbow_{side}": elbow, f"wrist_{side}": wrist, f"hand_{side}": wrist + 0.052 * body.height * lower}
    )
