"""Photographs of one eye are found: re-encoded, mirrored, cropped and turned; and those of different eyes are not."""

import tracemalloc

import numpy as np
import pytest
from planted_copies import DISGUISES, drawn_eye, found_of, planted, thumbnail_of

from retclip.data import near_duplicates, thumbnail_alignment, thumbnail_index

EYES, EVERY = 210, 3  # 70 copies, 10 in each disguise


@pytest.fixture(scope="module")
def drawn():
    rows = list(planted(3, range(EYES), EVERY))
    return [(number, how) for number, how, _ in rows], [thumbnail for _, _, thumbnail in rows]


@pytest.fixture(scope="module")
def compared(drawn):
    """The pairs, and the side of the whole image at each alignment that found or refused them."""
    sides = []
    aligned = thumbnail_alignment._aligned

    def counted(whole, part, matrix, steps):
        sides.append(whole.side)
        return aligned(whole, part, matrix, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thumbnail_alignment, "_aligned", counted)
        return near_duplicates.same_pairs(drawn[1], 1), sides


@pytest.fixture(scope="module")
def pairs(compared):
    return compared[0]


@pytest.mark.slow
@pytest.mark.parametrize("how", DISGUISES)
def test_copies_in_every_disguise_are_found(drawn, pairs, how):
    found, _ = found_of(drawn[0], pairs)
    hits, all_of_them = found[how]
    assert all_of_them == EYES // EVERY // len(DISGUISES)
    assert hits >= (0.9 if "cropped" in how else 1.0) * all_of_them


@pytest.mark.slow
def test_different_eyes_are_never_one(drawn, pairs):
    _, false = found_of(drawn[0], pairs)
    assert false == []


@pytest.mark.slow
def test_several_processes_find_the_same(drawn, pairs, monkeypatch):
    monkeypatch.setattr(near_duplicates, "PAIRS_PER_TASK", 64)
    assert near_duplicates.same_pairs(drawn[1], 2) == pairs


@pytest.mark.slow
def test_blocks_of_any_size_find_the_same(drawn, pairs, monkeypatch):
    monkeypatch.setattr(thumbnail_index, "BLOCK", 37)
    monkeypatch.setattr(near_duplicates, "PAIRS_PER_TASK", 64)
    assert near_duplicates.same_pairs(drawn[1], 1) == pairs


def test_a_view_is_sampled_as_scipy_samples_an_image():
    """Bit for bit, so that the same images are found; beyond the border, too. Scipy takes an image for each pixel."""
    from scipy.ndimage import map_coordinates

    inside = thumbnail_index.radius(thumbnail_index.SEEN) < thumbnail_index.EDGE
    for view in (thumbnail_index.VIEWS[-1], thumbnail_index.View(0.6, 7.0, True, (0.05, -0.05))):
        points = thumbnail_index.sample_points(thumbnail_index.SIDE, thumbnail_index.SEEN, view)[:, inside]
        pixels = np.eye(thumbnail_index.SIDE**2).reshape(-1, thumbnail_index.SIDE, thumbnail_index.SIDE)
        wanted = np.stack([map_coordinates(pixel, points, order=1, mode="nearest") for pixel in pixels])
        assert np.array_equal(thumbnail_index._taken(view), wanted - wanted.mean(1, keepdims=True))


@pytest.mark.slow
def test_an_index_keeps_of_each_image_its_descriptor_alone(drawn):
    """The views of a block are ninety times its descriptors; of all images of a large set they are gigabytes."""
    few, many = (_most_bytes_of_an_index((drawn[1] * 6)[:count]) for count in (512, 1536))
    descriptor, samples = 4 * thumbnail_index.COMPONENTS, 8 * thumbnail_index.SEEN**2  # samples: what it is fitted on
    assert many - few < (1536 - 512) * (4 * descriptor + 2 * samples)


def _most_bytes_of_an_index(thumbnails):
    tracemalloc.start()
    try:
        thumbnail_index.ThumbnailIndex(thumbnail_index.Descriptors(thumbnails), thumbnails)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_copies_of_another_set_are_found_whichever_is_the_copy(drawn, pairs):
    eyes, thumbnails = drawn
    ours = [place for place, (_, how) in enumerate(eyes) if not how]
    copies = [place for place, (_, how) in enumerate(eyes) if how]
    for first, second in ((ours, copies), (copies, ours)):
        both = near_duplicates.same_across([thumbnails[i] for i in first], [thumbnails[i] for i in second], 1)
        told = {tuple(sorted((first[i], second[j]))) for i, j in both}
        assert len(told & set(pairs)) >= 0.98 * len(pairs)
        assert len(told - set(pairs)) <= 0.02 * len(pairs)


def test_groups_join_what_pairs_chain():
    eye, other = (drawn_eye(3, number) for number in (1, 2))
    thumbnails = [thumbnail_of(image, quality) for image, quality in ((other, 90), (eye, 95), (eye, 60), (eye, 80))]
    assert near_duplicates.groups_of(thumbnails, 1).tolist() == [0, 1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 2])
def test_very_few_images(drawn, count):
    thumbnails = drawn[1][2 : 2 + count]
    assert near_duplicates.groups_of(thumbnails, 1).tolist() == list(range(count))
    assert near_duplicates.same_across(thumbnails, [], 1) == []
    assert near_duplicates.same_across([], thumbnails, 1) == []


def test_blank_and_black_images_are_nobodys_copies():
    """Without vessels nothing can be told; many such files must not become one eye."""
    from PIL import Image

    blank = [Image.fromarray(np.full((128, 128, 3), level, np.uint8)) for level in (0, 0, 3, 120, 200, 255)]
    thumbnails = [thumbnail_of(image, 90) for image in blank]
    assert near_duplicates.groups_of(thumbnails, 1).tolist() == list(range(len(blank)))


@pytest.mark.slow
def test_most_different_eyes_are_told_apart_on_the_coarse_images(compared):
    """Drawn eyes are so alike that nearly every pair of the index is aligned; fine images are three times dearer."""
    _, sides = compared
    copies = EYES // EVERY
    different = sides.count(48) / 2 - copies
    assert different > 3 * copies
    assert sides.count(96) - copies < 0.2 * different


def test_work_is_handed_out_as_it_is_done():
    """Of a hundred thousand images the pieces of all tasks at once would take more memory than the images."""
    from concurrent.futures import ThreadPoolExecutor

    from retclip.data.in_order import in_order

    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield (number,)

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, lambda number: 2 * number, tasks(), ahead=6)
        assert next(results) == 0
        assert len(taken) <= 7
        assert list(results) == [2 * number for number in range(1, 100)]
