"""Datasets prepared by TensorFlow Datasets, by name or by folder."""

import difflib
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder
from tensorflow_datasets.core.naming import parse_builder_name_kwargs

from nas_tf.base.errors import UserError, require
from nas_tf.data import class_names, order, splits, unprepared
from nas_tf.data.config import Part, as_part
from nas_tf.data.decode import decode_rgb
from nas_tf.data.sources import ArraySource, Encoded, ImageSource

IN_MEMORY_BYTES = 1 << 30  # splits of small images up to this size are decoded once
_SAMPLE = 16  # images per split, to learn the size of images that is not declared
_CYCLE = 16  # files read at the same time
_SHUFFLE_BUFFER = 10_000  # encoded images, about 1 GB of ImageNet


def is_prepared(folder: str) -> bool:
    """Whether TFDS prepared the folder: `…/name/version`, or one above it."""
    return bool(_version_folders(folder))


def open_folder(folder: str) -> ImageSource:
    """Opens `…/name/1.2.3`, or `…/name` if it holds one version."""
    versions = _version_folders(folder)
    require(
        len(versions) == 1,
        f"The folder {folder!r} holds several prepared versions; name one: "
        f"{', '.join(str(v) for v in versions)}.",
    )
    return _open_builder(_reading(lambda: tfds.builder_from_directory(versions[0]), folder), folder)


def open_name(dataset: str, data_dir: str = "", download: bool = False) -> ImageSource:
    """Opens a TFDS dataset such as `imagenet2012` or `imagenet_v2/matched-frequency`.

    Prepared files are found without running the dataset's own code, and without network.

    Raises:
      UserError: the name is unknown, or its data is not in `data_dir`.
    """
    try:
        name, _ = parse_builder_name_kwargs(dataset)
    except ValueError as error:
        raise _unknown(dataset) from error
    require(
        not name.namespace,
        f"Dataset {dataset!r} belongs to a community namespace, which "
        "TFDS reads from the network; prepare it with TFDS and give its folder as --dataset.",
    )
    require(not data_dir or pathlib.Path(data_dir).is_dir(), f"--data_dir={data_dir!r} is not a folder.")
    where = {"data_dir": data_dir} if data_dir else {}
    try:
        builder = read_only_builder.builder_from_files(dataset, **where)
    except tfds.core.DatasetNotFoundError as error:
        # Without community datasets, whose list TFDS reads from the network.
        if str(name) not in tfds.list_builders(with_community_datasets=False):
            raise _unknown(dataset) from error
        # TFDS itself would say so of archives only after it has begun.
        require(
            download and not unprepared.missing_archives(str(name), data_dir),
            unprepared.explanation(dataset, str(name), data_dir),
        )
        builder = _downloaded(dataset, where)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise _unreadable(dataset, error) from error
    return _open_builder(builder, dataset)


class RecordSource(ImageSource):
    """Streams the files of a prepared dataset; images may differ in size."""

    def __init__(self, name: str, labels: Iterable[str], builder: tfds.core.DatasetBuilder):
        super().__init__(name, labels, None)
        self._features, self._splits = builder.info.features, builder.info.splits
        height, width, _ = self._features["image"].shape
        self.image_size = min(height, width) if height and width else self._sampled_size()

    def _sampled_size(self) -> int | None:
        """Short side of the first images, if it is one: many datasets do not declare theirs.

        A sample, because all of them would take as long to read as an epoch. TFDS shuffles what
        it prepares, so that the first ones are like the others.
        """
        sizes = set()
        try:
            for split in self._splits:
                for image, _ in self._in_order(Part(split)).take(_SAMPLE).map(self._example):
                    sizes.add(min(image.shape[:2]))
                    if len(sizes) > 1:  # photographs: known after two of them
                        return None
        except tf.errors.OpError:
            return None  # said with its reason when the files are read
        return sizes.pop() if sizes else None

    def split_names(self) -> tuple[str, ...]:
        return tuple(self._splits)

    def ranges(self, split: str) -> list[splits.Range]:
        return splits.ranges(split, self._splits, self.name)

    def evaluation_split(self, asked: str = "") -> str:
        """As in `ImageSource`; refuses a split without labels now, and not after a training."""
        split = super().evaluation_split(asked)
        self.part_size(split)
        try:
            first = next(iter(self.labels_in_order(split)), 0)
        except tf.errors.OpError:
            return split  # said with its reason when the files are read
        if first < 0:
            others = ", ".join(name for name in self.split_names() if name != split)
            raise UserError(
                f"The split {split!r} of dataset {self.name!r} has no labels, so nothing can be evaluated on "
                f"it; it also has {others or 'no other split'}."
            )
        return split

    def examples(self, part: str | Part, rows: order.Rows | None = None) -> tf.data.Dataset:
        self.part_size(part)
        records = order.only(self._in_order(as_part(part)), rows, 0)
        return records.map(self._example, num_parallel_calls=tf.data.AUTOTUNE)

    def labels_in_order(self, split: str) -> Iterable[int]:
        records = self._in_order(Part(split)).map(lambda r: self._parse(r)["label"])
        return records.as_numpy_iterator()

    def endless_stored(
        self, part: str | Part, seed: int, start: int = 0, rows: order.Rows | None = None
    ) -> tf.data.Dataset:
        part, size = as_part(part), self.part_size(part)
        if part.positions is not None and not part.complement:
            records = self._kept(part, seed, start, size)
        else:
            records = self._shuffled(part, seed, start, size)
        return order.only(records, rows, start).map(self._stored, num_parallel_calls=tf.data.AUTOTUNE)

    def _kept(self, part: Part, seed: int, start: int, size: int) -> tf.data.Dataset:
        """A few chosen images, kept in memory as they are encoded, shuffled perfectly."""
        kept = tf.constant(list(self._in_order(part).as_numpy_iterator()))
        indices = order.counts(start).map(lambda count: order.shuffled_index(count, size, seed))
        return indices.map(lambda index: kept[index])

    def _shuffled(self, part: Part, seed: int, start: int, size: int) -> tf.data.Dataset:
        """Files in random order, several at a time, then a shuffle buffer.

        A resumed run reads again, but does not decode, what its epoch has seen.
        """
        files = self._files(part.split)

        def epoch_records(epoch: tf.Tensor) -> tf.data.Dataset:
            key = tf.stack([tf.constant(seed, tf.int64), epoch])
            places = tf.random.experimental.stateless_shuffle(tf.range(len(files[0])), key)
            ordered = tuple(tf.gather(column, places) for column in files)
            # Deterministic though files are read in parallel: a resumed run has to meet the same
            # order.
            numbered = tf.data.Dataset.from_tensor_slices(ordered).interleave(
                _numbered_records,
                cycle_length=_CYCLE,
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            # Another number for each (seed, epoch), since no run has a million epochs.
            return _shuffled_by(_select(numbered, part), seed * 1_000_003 + epoch)

        epochs = order.counts(start // size)
        return epochs.flat_map(epoch_records).skip(start % size)

    def _in_order(self, part: Part) -> tf.data.Dataset:
        files = tf.data.Dataset.from_tensor_slices(self._files(part.split))
        records = files.flat_map(_numbered_records)
        if part.positions is not None and not part.complement:
            # Nothing behind the last chosen image is read.
            records = records.take(part.positions[-1] + 1)
        return _select(records, part)

    def _files(self, split: str) -> tuple[tf.Tensor, ...]:
        """(name, records to skip, records to take, position of the first) of each file."""
        files = _split_info(self._splits, split, self.name).file_instructions
        firsts = np.cumsum([0, *(f.take for f in files)])[:-1]
        return (
            tf.constant([str(f.filename) for f in files]),
            tf.constant([f.skip for f in files], tf.int64),
            tf.constant([f.take for f in files], tf.int64),
            tf.constant(firsts, tf.int64),
        )

    def _parse(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        # Images stay encoded: reading labels needs none, and TFDS would decode JPEGs by TensorFlow's
        # faster transform, which is off (`decode_rgb`).
        return self._features.deserialize_example(record, decoders={"image": tfds.decode.SkipDecoding()})

    def _stored(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        example = self._parse(record)
        return example["image"], tf.cast(example["label"], tf.int64)

    def _example(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        content, label = self._stored(record)
        return self.image(content), label

    def encoded(self, stored: tf.Tensor) -> Encoded:
        # Whatever a tag says: see `decode_rgb`.
        return Encoded(stored, tf.constant(1))

    def decode(self, encoded: Encoded) -> tf.Tensor:
        return decode_rgb(encoded.content)


def _numbered_records(name, skip, take, first) -> tf.data.Dataset:
    """(position in the split, serialized example) of one file."""
    records = tf.data.TFRecordDataset(name, buffer_size=1 << 20).skip(skip).take(take)
    return records.enumerate(first)


def _shuffled_by(records: tf.data.Dataset, seed: tf.Tensor) -> tf.data.Dataset:
    """Records through a shuffle buffer, in an order that `seed` alone decides.

    To be called in the function of a dataset. `shuffle` mixes TensorFlow's global seed into its
    own, and cannot compare a tensor with 0 when the global one is 0. The seed set here is that
    of the function's own graph: the program's is neither read nor changed.
    """
    tf.compat.v1.set_random_seed(order.FIXED_ORDER_SEED)
    return records.shuffle(_SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=False)


def _select(numbered: tf.data.Dataset, part: Part) -> tf.data.Dataset:
    """The serialized examples that belong to the part."""
    if part.positions is not None:
        positions = tf.constant(part.positions, tf.int64)

        def belongs(position, _):
            # Beyond the last position, searchsorted points past the end.
            place = tf.minimum(tf.searchsorted(positions, position[tf.newaxis])[0], len(part.positions) - 1)
            return (positions[place] == position) != part.complement

        numbered = numbered.filter(belongs)
    return numbered.map(lambda _, record: record)


def _open_builder(builder: tfds.core.DatasetBuilder, name: str) -> ImageSource:
    source = _source_of(builder, name)
    # TFDS numbers the classes that its dataset does not name.
    source.named = not class_names.are_numbers(source.labels)
    return source


def _source_of(builder: tfds.core.DatasetBuilder, name: str) -> ImageSource:
    features = builder.info.features
    known = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    require(
        isinstance(known.get("image"), tfds.features.Image)
        and isinstance(known.get("label"), tfds.features.ClassLabel)
        and known["image"].np_dtype == np.uint8,
        f"Dataset {name!r} is not for image classification: it needs a uint8 'image' and a "
        f"class 'label', and has {', '.join(sorted(known)) or 'none'}.",
    )
    file_format = str(builder.info.file_format.value)
    require(
        file_format == "tfrecord", f"Dataset {name!r} is prepared as {file_format}; prepare it as tfrecord."
    )
    labels = known["label"].names
    records = RecordSource(name, labels, builder)
    height, width, _ = known["image"].shape
    if height and width and _largest_split(records) * height * width * 3 <= IN_MEMORY_BYTES:
        sizes = {split: records.split_size(split) for split in records.split_names()}
        return ArraySource(name, labels, min(height, width), sizes, lambda split: _decoded(records, split))
    return records


def _largest_split(records: RecordSource) -> int:
    return max(map(records.split_size, records.split_names()), default=0)


def _decoded(records: RecordSource, split: str) -> tuple[np.ndarray, np.ndarray]:
    batches = list(records.examples(split).batch(1024).as_numpy_iterator())
    images, labels = map(np.concatenate, zip(*batches, strict=True))
    return images, labels


def _split_info(infos, split: str, dataset: str):
    try:
        return infos[split]
    except splits.SPLIT_ERRORS as error:
        raise splits.unknown_split(split, infos, dataset) from error


def _version_folders(folder: str) -> list[pathlib.Path]:
    path = pathlib.Path(folder)
    if (path / unprepared.INFO_FILE).is_file():
        return [path]
    return sorted(info.parent for info in path.glob(f"*/{unprepared.INFO_FILE}"))


def _downloaded(dataset: str, where: dict[str, Any]) -> tfds.core.DatasetBuilder:
    def prepare():
        builder = tfds.builder(dataset, **where)
        builder.download_and_prepare()
        return builder

    return _reading(prepare, dataset)


def _reading(function, name: str):
    """Calls `function`; whatever TFDS or the network raises becomes one sentence."""
    try:
        return function()
    except UserError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"Dataset {name!r} cannot be opened: {reason}")


def _unknown(dataset: str) -> UserError:
    names = [*tfds.list_builders(with_community_datasets=False), "digits"]
    near = difflib.get_close_matches(dataset.split("/")[0].split(":")[0], names, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else "see tensorflow.org/datasets/catalog"
    return UserError(
        f"Unknown dataset {dataset!r}: neither 'digits', nor a folder, nor a TFDS name ({hint})."
    )
