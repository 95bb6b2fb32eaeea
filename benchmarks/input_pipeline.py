"""Images a second of one core from JPEGs to what a network is fed, and what other ways change in pixels.

    python -m benchmarks.input_pipeline --dataset=imagenet2012 --data_dir=../shared/data/tfds
    python -m benchmarks.input_pipeline --dataset=imagenet2012 --data_dir=../shared/data/tfds --enlarged=2 \\
        --resolutions=176 --model=runs/import/train/model

Ways: `before`, the whole image through `tf.image.resize`; `now`; and `reduced`, decoding at a fraction of the
size where that is at least what is needed (`--reduced_decoding`; for evaluation it exists here alone). Ways
take turns, each over all images, in one thread; time is the process's own, so that other work on the machine
tells less. `--enlarged` makes photographs of several times the size, by Pillow, encoded again. With
`--model`, a float model folder, top-1 of evaluation by each way.
"""

import functools
import io
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import flags

from flags import data as data_flags
from flags import paths
from nas_tf.base import cli

_RESOLUTIONS = flags.DEFINE_list("resolutions", ["224", "160", "96"], "Sides of the network's input.")
_IMAGES = flags.DEFINE_integer("images", 100, "Photographs of the evaluation split.", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each way.", lower_bound=1)
_ENLARGED = flags.DEFINE_integer("enlarged", 1, "How many times as large as they are.", lower_bound=1)
_MODEL = paths.DEFINE_path("model", "", "Float model folder whose top-1 is compared.")
_QUALITY = 90  # of JPEGs that are encoded again


def main() -> None:
    """Prints rates and differences for each resolution."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    contents, labels = _photographs()
    for resolution in map(int, _RESOLUTIONS.value):
        for name, ways in (("training", _training(resolution)), ("evaluation", _evaluation(resolution))):
            graphs = {way: _graph(function) for way, function in ways.items()}
            seen = {way: _all(graph, contents) for way, graph in graphs.items()}
            facts = _rates(graphs, contents) | _differences(seen)
            if name == "evaluation" and _MODEL.value:
                facts |= _top1(seen, labels)
            cli.print_facts(f"{name}, {resolution} pixels", facts)


def _photographs():
    """(the files' contents, labels [N])."""
    import tensorflow as tf

    from nas_tf.base.errors import require
    from nas_tf.data.opening import open_config
    from nas_tf.data.prepared import RecordSource

    source = open_config(data_flags.data_config())
    require(
        isinstance(source, RecordSource), "--dataset has to be prepared by TFDS, of images of several sizes."
    )
    split = source.evaluation_split(data_flags.EVAL_SPLIT.value)
    cells = source.endless_stored(split, seed=0).take(_IMAGES.value).as_numpy_iterator()
    contents, labels = zip(*cells, strict=True)
    if _ENLARGED.value > 1:
        contents = map(_enlarge, contents)
    return [tf.constant(content) for content in contents], np.array(labels)


def _enlarge(content: bytes) -> bytes:
    from PIL import Image

    image, stream = Image.open(io.BytesIO(content)).convert("RGB"), io.BytesIO()
    width, height = (side * _ENLARGED.value for side in image.size)
    image.resize((width, height), Image.Resampling.LANCZOS).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _training(resolution: int) -> dict[str, Callable]:
    """way → (content, its number) to a random crop uint8, the same crop for all ways."""
    import tensorflow as tf

    from nas_tf.data import augment, decode
    from nas_tf.data.config import Augmentation

    def views(number, size):
        key = tf.stack([tf.constant(0, tf.int64), number])
        return augment.sample_views(key, 1, tf.cast(size, tf.float32), Augmentation())

    def before(content, number):
        image = decode.decode_rgb(content)
        drawn = views(number, tf.shape(image)[:2])
        begin = tf.cast(tf.round(drawn.boxes[0, :2]), tf.int32)
        extent = tf.clip_by_value(
            tf.cast(tf.round(drawn.boxes[0, 2:]), tf.int32), 1, tf.shape(image)[:2] - begin
        )
        crop = tf.slice(image, tf.concat([begin, [0]], 0), tf.concat([extent, [3]], 0))
        view = _tensorflows(crop, [resolution, resolution])
        return _as_uint8(tf.where(drawn.flips[0], tf.reverse(view, [1]), view))

    def now(content, number, reduced):
        size = decode.jpeg_size(content, tf.constant(1))
        return augment.view_jpeg(content, size, resolution, views(number, size), reduced)

    return {
        "before": before,
        "now": functools.partial(now, reduced=False),
        "reduced": functools.partial(now, reduced=True),
    }


def _evaluation(resolution: int) -> dict[str, Callable]:
    """way → (content, its number) to the central crop uint8."""
    import tensorflow as tf

    from nas_tf.data import decode, preprocess
    from nas_tf.data.config import default_resize_size

    resize_size = data_flags.RESIZE_SIZE.value or default_resize_size(resolution, None)

    def before(content, _):
        image = decode.decode_rgb(content)
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        height_width = tf.cast(tf.round(size * (resize_size / tf.reduce_min(size))), tf.int32)
        top, left = tf.unstack((height_width - resolution) // 2)
        image = _tensorflows(image, height_width)
        return _as_uint8(image[top : top + resolution, left : left + resolution])

    def now(content, _):
        return preprocess.evaluation_image(decode.decode_rgb(content), resolution, resize_size)

    def reduced(content, _):
        size = decode.jpeg_size(content, tf.constant(1))
        image = decode.decode_reduced_window(content, size, tf.zeros([2], tf.int32), size, resize_size)
        return preprocess.evaluation_image(image, resolution, resize_size)

    return {"before": before, "now": now, "reduced": reduced}


def _tensorflows(image, height_width):
    import tensorflow as tf

    return tf.image.resize(image, height_width, tf.image.ResizeMethod.BILINEAR, antialias=True)


def _as_uint8(image):
    from nas_tf.data import preprocess

    return preprocess.as_uint8(image)


def _graph(function: Callable):
    import tensorflow as tf

    return tf.function(function, input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int64)])


def _all(graph: Callable, contents: Sequence) -> np.ndarray:
    import tensorflow as tf

    return np.stack([graph(content, tf.constant(i, tf.int64)) for i, content in enumerate(contents)])


def _rates(graphs: dict[str, Callable], contents: Sequence) -> dict[str, str]:
    """Images a second by each way, and the median ratio to `before` of the same turn."""
    import tensorflow as tf

    numbers = [tf.constant(i, tf.int64) for i in range(len(contents))]
    seconds: dict[str, list[float]] = {way: [] for way in graphs}
    for _ in range(_ROUNDS.value):
        for way, graph in graphs.items():
            began = time.process_time()
            for pair in zip(contents, numbers, strict=True):
                graph(*pair)
            seconds[way].append(time.process_time() - began)
    taken = {way: np.array(values) for way, values in seconds.items()}
    return {
        f"{way}, images a second and core": f"{len(contents) / np.median(values):.0f}, "
        f"{np.median(taken['before'] / values):.2f} times as many as before"
        for way, values in taken.items()
    }


def _differences(seen: dict[str, np.ndarray]) -> dict[str, str]:
    before, found = seen["before"].astype(int), {}
    for way in ("now", "reduced"):
        off = np.abs(seen[way] - before)
        changed = off.reshape(len(off), -1).any(axis=1)
        found[f"{way}, grey levels off"] = (
            f"{off.mean():.4f} on average, at most {off.max()}; {changed.sum()} of {len(off)} images differ"
            + (f", those by {off[changed].mean():.2f} on average" if changed.any() else "")
        )
    return found


def _top1(seen: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, str]:
    from nas_tf.data.preprocess import to_network_input
    from nas_tf.network.model_folder import load_float_model

    model, _ = load_float_model(_MODEL.value)
    chosen = {
        way: model.predict(to_network_input(images), verbose=0).argmax(1) for way, images in seen.items()
    }
    return {
        f"{way}, top-1": f"{(of == labels).sum()} of {len(labels)}, {(of != chosen['before']).sum()} answers "
        "other than before"
        for way, of in chosen.items()
    }


if __name__ == "__main__":
    cli.run(main)
