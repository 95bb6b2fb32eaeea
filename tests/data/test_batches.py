"""Batches: every image, in an order that a resumed run repeats."""

import itertools
import time

import numpy as np
import pytest
import tensorflow as tf

from nas_tf.base.errors import UserError
from nas_tf.data import batches, order
from nas_tf.data.config import NO_AUGMENTATION, Augmentation
from nas_tf.data.opening import open_source
from nas_tf.data.preprocess import evaluation_image

STRONG = Augmentation(0.3, True, 1.0)


@pytest.fixture(scope="module", params=["in memory", "streamed"])
def source(request, tfds_dir):
    return (
        open_source("digits") if request.param == "in memory" else open_source("tiny_photos", str(tfds_dir))
    )


def take(dataset, start, stop):
    return [(image.numpy(), label.numpy()) for image, label in itertools.islice(dataset, start, stop)]


@pytest.mark.parametrize("start", [3, 5])
def test_a_resumed_run_sees_the_same_batches(source, start):
    """Bit for bit, across the end of an epoch (23 photographs) too."""

    def stream(start_step):
        return batches.training_batches(source, "train", 5, 12, STRONG, seed=9, start_step=start_step)

    for (a, b), (c, d) in zip(take(stream(0), start, start + 3), take(stream(start), 0, 3)):
        assert (a == c).all() and (b == d).all()


def test_seeds_and_epochs_differ(source):
    (first,) = take(batches.training_batches(source, "train", 20, 12, STRONG, 1), 0, 1)
    (other,) = take(batches.training_batches(source, "train", 20, 12, STRONG, 2), 0, 1)
    assert (first[0] != other[0]).any()


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_read_batches_in_turn(source, processes):
    """Also of streamed images: the same batches, and the last smaller one once."""
    every = take(batches.evaluation_batches(source, "train[:17]", 4, 12), 0, None)
    assert [len(labels) for _, labels in every] == [4, 4, 4, 4, 1]
    for rank in range(processes):
        rows = order.Rows(rank * 4, 4, processes * 4)
        own = take(batches.evaluation_batches(source, "train[:17]", 4, 12, rows=rows), 0, None)
        assert len(own) == len(every[rank::processes])
        for (a, b), (c, d) in zip(own, every[rank::processes], strict=True):
            assert (a == c).all() and (b == d).all()


def test_shapes_and_types(source):
    ((images, labels),) = take(batches.training_batches(source, "train", 5, 12, STRONG, 1), 0, 1)
    assert images.shape == (5, 12, 12, 3) and images.dtype == np.uint8
    assert labels.shape == (5,) and labels.dtype == np.int64


def test_without_augmentation_images_are_those_of_evaluation(source):
    found = [
        i
        for images, _ in take(batches.training_batches(source, "train[:6]", 6, 10, NO_AUGMENTATION, 1), 0, 1)
        for i in images
    ]
    wanted = [
        i
        for images, _ in take(batches.evaluation_batches(source, "train[:6]", 4, 10), 0, None)
        for i in images
    ]
    assert sorted(map(bytes, found)) == sorted(map(bytes, wanted))


def test_evaluation_sees_every_image_once_in_order(source):
    found = take(batches.evaluation_batches(source, "test[:7]", 3, 12), 0, None)
    assert [len(labels) for _, labels in found] == [3, 3, 1]
    size = batches.image_size(source, 12)
    examples = list(source.examples("test[:7]").as_numpy_iterator())
    for image, (wanted, _) in zip(np.concatenate([i for i, _ in found]), examples):
        assert (image == evaluation_image(wanted, 12, size.resize_size).numpy()).all()
    assert np.concatenate([labels for _, labels in found]).tolist() == [int(label) for _, label in examples]


@pytest.mark.parametrize(
    "batch_size, resolution, resize_size, message",
    [
        (0, 8, 0, "batch size must be at least 1, not 0"),
        (-3, 8, 0, "batch size must be at least 1, not -3"),
        (4, 0, 0, r"at least the resolution \(0 pixels, at least 1\)"),
        (4, -8, 0, "at least the resolution"),
        (4, 8, 7, r"at least the resolution \(8 pixels.*not to 7"),
    ],
)
def test_sizes_that_make_no_sense(source, batch_size, resolution, resize_size, message):
    with pytest.raises(UserError, match=message):
        batches.evaluation_batches(source, "test", batch_size, resolution, resize_size)
    with pytest.raises(UserError, match=message):
        batches.training_batches(source, "train", batch_size, resolution, STRONG, 0, resize_size=resize_size)


def test_labels_without_ground_truth_are_refused(source):
    batches.check_labels(np.array([0, 2]), source, "test")
    for labels in ([0, -1], [source.num_classes]):
        with pytest.raises(UserError, match="no ground truth to compare with"):
            batches.check_labels(np.array(labels), source, "test")


class _Counting:
    """Images that are counted as they are made, by a generator that is slower than its reader."""

    cropped_to = image_size = 8
    made = 0

    def examples(self, part, rows=None):
        def images():
            while True:
                self.made += 1
                yield np.zeros((8, 8, 3), np.uint8), 0

        signature = (tf.TensorSpec((8, 8, 3), tf.uint8), tf.TensorSpec((), tf.int64))
        return tf.data.Dataset.from_generator(images, output_signature=signature)


def test_a_reader_that_waits_at_times_does_not_have_more_and_more_made_ahead():
    source = _Counting()
    images, read = iter(batches.evaluation_batches(source, "train", 2, 8)), 0
    for _ in range(8):
        for _ in range(40):  # the reader waits
            next(images)
            read += 2
        before = -1
        while source.made != before:  # the images wait
            before = source.made
            time.sleep(0.2)
    # Two in a batch; some more are on their way: 36 images once, on a busy machine.
    # With AUTOTUNE 80 are ahead.
    assert source.made - read < 2 * (batches.READY + 16)
