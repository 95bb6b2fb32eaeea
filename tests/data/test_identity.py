"""A run folder goes on when its images have moved, and not when they are others."""

from nas_tf.data.config import DataConfig


def test_where_the_images_lie_is_no_part_of_what_they_are():
    here = DataConfig("cifar10", "/a", download=True).identity()
    assert here == DataConfig("cifar10", "/b").identity()
    assert here != DataConfig("cifar10", "/a", train_split="train[:50%]").identity()
    assert here != DataConfig("digits", "/a").identity()
