"""Photos that look alike are found, others are not, without comparing all with all."""

import cv2
import numpy as np
import pytest

from glsim_mm.images.demo_scene import MARKS, render_scene
from glsim_mm.images.perceptual_hash import NEAR, near_groups, perceptual_hash


@pytest.fixture(scope='module')
def pictures() -> list[np.ndarray]:
    """Twenty rendered pictures of one kind of fish, BGR, which differ in the scene."""
    mark = next(iter(MARKS.values()))
    return [np.ascontiguousarray(render_scene(mark, 96, seed).image[..., ::-1]) for seed in range(20)]


def distance(one, other) -> int:
    return int((np.unpackbits(one.view(np.uint8)) != np.unpackbits(other.view(np.uint8))).sum())


def test_pictures_of_other_scenes_are_far_apart(pictures):
    hashes = [perceptual_hash(picture) for picture in pictures]
    assert all(one.shape == (16,) and one.dtype == np.uint16 for one in hashes)
    assert min(distance(one, other) for place, one in enumerate(hashes) for other in hashes[:place]) > 2 * NEAR
    assert len(set(near_groups(np.array(hashes)).tolist())) == len(hashes)


@pytest.mark.parametrize(
    'change',
    [
        lambda pixels: cv2.imdecode(cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1),
        lambda pixels: cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_AREA),
        lambda pixels: cv2.resize(pixels, (200, 300), interpolation=cv2.INTER_CUBIC),
        lambda pixels: np.clip(1.15 * pixels + 10, 0, 255).astype(np.uint8),
    ],
)
def test_changed_copies_are_near(pictures, change):
    for picture in pictures:
        assert distance(perceptual_hash(picture), perceptual_hash(change(picture))) <= NEAR


def test_pictures_without_contrast_have_no_hash():
    assert perceptual_hash(np.full((40, 60, 3), 200, np.uint8)) is None
    noise = np.random.default_rng(0).integers(199, 202, (64, 64, 3)).astype(np.uint8)
    assert perceptual_hash(noise) is None


def brute_groups(hashes: np.ndarray) -> np.ndarray:
    """The same groups by all pairs."""
    bits = np.unpackbits(hashes.view(np.uint8), axis=1).astype(int)
    near = (bits[:, None] != bits[None]).sum(axis=2) <= NEAR
    groups = np.arange(len(hashes))
    for _ in range(len(hashes)):
        groups = np.where(near, groups[None], len(hashes)).min(axis=1)
    return groups


@pytest.mark.parametrize('seed', range(6))
def test_groups_are_those_of_all_pairs(seed, monkeypatch):
    """Pairs of all distances around the limit, chains, and copies; also where few pairs are looked at at once."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr('glsim_mm.images.perceptual_hash._PAIRS_AT_ONCE', 7 if seed % 2 else 1 << 20)
    bits = rng.integers(0, 2, (12, 256), dtype=np.uint8)
    rows = [*bits]
    for flips in (0, 1, 16, NEAR - 1, NEAR, NEAR + 1, NEAR + 2, 2 * NEAR):
        for row in bits[:4]:
            changed = row.copy()
            changed[rng.choice(256, flips, replace=False)] ^= 1
            rows.append(changed)
    chain = bits[11].copy()
    for _ in range(5):
        chain = chain.copy()
        chain[rng.choice(256, 25, replace=False)] ^= 1
        rows.append(chain)
    hashes = np.packbits(np.array(rows)[rng.permutation(len(rows))], axis=1).view(np.uint16)
    found, expected = near_groups(hashes), brute_groups(hashes)
    assert np.array_equal(found[:, None] == found[None], expected[:, None] == expected[None])


def test_thirty_bits_spread_over_all_bands_are_found():
    """One in each band, and two in most: the hardest case that is promised."""
    one = np.zeros((1, 16), np.uint16)
    other = np.full((1, 16), 0b11, np.uint16)
    other[0, :2] = 1
    assert distance(one, other) == NEAR
    assert len(set(near_groups(np.concatenate([one, other])).tolist())) == 1
    other[0, 0] = 0b11
    assert len(set(near_groups(np.concatenate([one, other])).tolist())) == 2


def test_no_hashes_and_one():
    assert near_groups(np.zeros((0, 16), np.uint16)).tolist() == []
    assert len(near_groups(np.zeros((3, 16), np.uint16))) == 3
