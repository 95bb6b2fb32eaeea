"""Images a second of `export.evaluate` beside those of decoding and bare interpreter calls.

    python -m benchmarks.evaluate_throughput --model=model_int8.tflite --dataset=imagenet2012 \\
        --data_dir=../shared/data/tfds --workers=2

Both decode by the same pipeline and run as many interpreters; the bare way puts pixels into a uint8 or int8
input and takes scores out, and counts nothing. They take turns, so that a slow minute meets both.
"""

import concurrent.futures
import dataclasses
import threading
import time

import numpy as np
from absl import flags

from export.evaluate_config import EvaluateConfig
from export.model_accuracy import evaluate_model, prepare
from flags import data as data_flags
from flags import paths
from nas_tf.base import cli
from nas_tf.base.interpreter import DEFAULT_KERNELS, open_interpreter
from quant import int8

_MODEL = paths.DEFINE_path("model", None, "A .tflite file with an integer input.", required=True)
_WORKERS = flags.DEFINE_integer("workers", 0, "Interpreters; 0: one per core.", lower_bound=0)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each way.", lower_bound=1)


def main() -> None:
    """Measures both ways in turns and prints the median ratio."""
    config = EvaluateConfig(data_flags.data_config(), num_workers=_WORKERS.value)
    rates = []
    for _ in range(_ROUNDS.value):
        evaluated = evaluate_model(_MODEL.value, config)["images_per_second"]
        rates.append((evaluated, _bare(config)))
        print(f"evaluate {rates[-1][0]:.1f}, bare {rates[-1][1]:.1f} images a second", flush=True)
    ratios = [evaluated / bare for evaluated, bare in rates]
    cli.print_facts(
        "Throughput",
        {
            "evaluate, images a second": float(np.median([r[0] for r in rates])),
            "bare, images a second": float(np.median([r[1] for r in rates])),
            "median ratio": float(np.median(ratios)),
            "ratios": f"{min(ratios):.3f} to {max(ratios):.3f}",
        },
    )


def _bare(config: EvaluateConfig) -> float:
    from nas_tf.data import batches
    from nas_tf.latency.host import usable_cores

    ready = prepare(_MODEL.value, dataclasses.replace(config, num_workers=1))
    size, local, total = ready.size, threading.local(), 0

    def score(image: np.ndarray) -> np.ndarray:
        if not hasattr(local, "loaded"):
            interpreter = open_interpreter(_MODEL.value, "model", DEFAULT_KERNELS)
            local.loaded = (
                interpreter,
                interpreter.get_input_details()[0],
                interpreter.get_output_details()[0],
            )
        interpreter, source, sink = local.loaded
        interpreter.set_tensor(source["index"], int8.pixels_as(image, source["dtype"].__name__)[np.newaxis])
        interpreter.invoke()
        return interpreter.get_tensor(sink["index"])

    images = batches.evaluation_batches(
        ready.source, ready.split, config.batch_size, size.resolution, size.resize_size
    )
    with concurrent.futures.ThreadPoolExecutor(config.num_workers or usable_cores()) as pool:
        began, under_way = time.monotonic(), []
        for pixels, _ in images:
            # All of them at once, as far as they are decoded: no interpreter ever waits for another.
            under_way += [pool.submit(score, image) for image in pixels.numpy()]
        total = sum(len(future.result()) for future in under_way)
        return total / (time.monotonic() - began)


if __name__ == "__main__":
    cli.run(main)
