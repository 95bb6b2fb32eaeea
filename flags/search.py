"""Flags of the search."""

from absl import flags

from flags import augmentation, common, compute, data, paths, saving, shards, space
from nas_tf.data.config import Augmentation
from nas_tf.search.config import ALGORITHMS, GATE_MODES, Budget, SearchConfig, SearchSchedule

LATENCY_TABLE = paths.DEFINE_path(
    "latency_table", None, "Latency table (.json or the published .yaml), in ms."
)
MISSING_LATENCY = flags.DEFINE_enum(
    "missing_latency",
    SearchConfig.missing_latency,
    ["error", "estimate"],
    "An entry that the table lacks: an error, or an estimate fitted to the entries that it has.",
)
TARGET_LATENCY = flags.DEFINE_float(
    "target_latency_ms", None, "Latency that the network may have, in ms by the table.", lower_bound=0.0
)
MAX_PARAMS = flags.DEFINE_integer(
    "max_params", Budget.params, "Most trainable parameters of the network; 0: no limit.", lower_bound=0
)
MAX_MACS = flags.DEFINE_integer(
    "max_macs", Budget.macs, "Most multiply-adds for one image; 0: no limit.", lower_bound=0
)
LATENCY_LOSS = flags.DEFINE_enum(
    "latency_loss",
    SearchConfig.latency_loss,
    ["projected", "constrained", "mul_log", "add_linear"],
    "How expected latency enters: after each step alpha is moved to where it is the target; a constraint in "
    "the loss with a weight that adapts; the authors' "
    "CE * 0.2 * (ln E / ln target)^0.3 (in ms; where a space's fastest network takes less than "
    "2.718 ms, in units of its 2.718th part), or CE + 0.1 (E - target) / target.",
)
ALGORITHM = flags.DEFINE_enum(
    "algorithm",
    SearchConfig.algorithm,
    ALGORITHMS,
    "How alpha learns: by gradients of the binary gates, "
    "or by rewards of sampled networks (with --latency_loss=mul_log: the authors' reward); random: "
    "gradients that say nothing, a control that a search has to beat.",
)
GATE_MODE = flags.DEFINE_enum(
    "gate_mode",
    SearchConfig.gate_mode,
    GATE_MODES,
    "Paths whose gates get a gradient in an architecture step: all of a block, or two drawn ones.",
)
MAX_GATE_PATHS = flags.DEFINE_integer(
    "max_gate_paths",
    SearchConfig.max_gate_paths,
    "With --gate_mode=full: gates of each block that get a gradient in one step at most, drawn anew for "
    "every step where a block has more candidates. 0: all.",
    lower_bound=0,
    upper_bound=1000,
)
DERIVE = flags.DEFINE_enum(
    "derive",
    SearchConfig.derive,
    ["budget", "argmax"],
    "The network at the end: the most probable one "
    "within the budget, or the most probable operation of every block.",
)
MIN_BUDGET_SHARE = flags.DEFINE_float(
    "min_budget_share",
    SearchConfig.min_budget_share,
    "Least share of the latency budget that the network at the end uses, where the space has such a network "
    "and --latency_loss holds the expectation at the budget (projected, constrained); 0: none.",
    lower_bound=0.0,
    upper_bound=1.0,
)
DROP_CANDIDATES = flags.DEFINE_bool(
    "search_drop_candidates",
    SearchConfig.drop_candidates,
    "Leaves out, before anything is trained, the candidates that no network within the budget can have: "
    "those that are too dear even where every other block has its cheapest.",
)
NUM_CANDIDATES = flags.DEFINE_integer(
    "num_candidates",
    SearchConfig.num_candidates,
    "How many of the best networks to list in candidates.json.",
    lower_bound=1,
    upper_bound=1000,
)
JUDGED_NETWORKS = flags.DEFINE_integer(
    "judged_networks",
    SearchConfig.judged_networks,
    "Networks drawn at the end with the probabilities that were learned, within the budget, and judged with "
    "the shared weights on the images held out; the best is the result. 1: the most probable network.",
    lower_bound=1,
    upper_bound=10_000,
)
JUDGE_EPOCHS = flags.DEFINE_float(
    "judge_epochs",
    SearchConfig.judge_epochs,
    "Each network of --judged_networks is trained alone for this part of an epoch, at "
    "--search_warmup_learning_rate, and judged by how many images it gets right before it learns from "
    "them. It costs that much of a training for each, and tells more than the shared weights do, with "
    "which 0 judges.",
    lower_bound=0.0,
    upper_bound=1.0,
)
JUDGE_ROUNDS = flags.DEFINE_integer(
    "judge_rounds",
    SearchConfig.judge_rounds,
    "Rounds of --judged_networks each. From the second on, the networks are those within the budget that a "
    "model of the figures so far (what each candidate adds to them) expects most of. The best of all rounds "
    "is the result.",
    lower_bound=1,
    upper_bound=1000,
)
FINALISTS = flags.DEFINE_integer(
    "finalists",
    SearchConfig.finalists,
    "So many of the best judged networks are trained alone again, for --finalist_epochs with the rate "
    "lowered to 0; the best of them is the result. 0: the best judged network.",
    lower_bound=0,
    upper_bound=10_000,
)
FINALIST_EPOCHS = flags.DEFINE_float(
    "finalist_epochs",
    SearchConfig.finalist_epochs,
    "Epochs of training for each of --finalists. They are compared by the images that they get right in the "
    "last quarter before they learn from them, so some epochs tell and hundreds do not.",
    lower_bound=0.0,
)
EPOCHS = flags.DEFINE_integer(
    "search_epochs",
    SearchSchedule.epochs,
    "Epochs of weights and alpha, after the warm-up. 0, with none of warm-up either: no weights are shared, "
    "and the networks to judge are drawn evenly from those within the budget.",
    lower_bound=0,
)
WARMUP_EPOCHS = flags.DEFINE_integer(
    "search_warmup_epochs",
    SearchSchedule.warmup_epochs,
    "Epochs of weights alone, alpha frozen.",
    lower_bound=0,
)
TIED_EPOCHS = flags.DEFINE_integer(
    "search_tied_epochs",
    SearchSchedule.tied_epochs,
    "Epochs at the start of the warm-up with tied candidates: in each block the smallest candidate of "
    "each form is trained in place of all of that form. Then every candidate goes on from it with weights of "
    "its own. "
    "Without this, large spaces take many epochs to learn anything. 0: none, as in the paper; each "
    "candidate starts from random weights.",
    lower_bound=0,
)
BATCH_SIZE = flags.DEFINE_integer(
    "search_batch_size",
    SearchSchedule.batch_size,
    "Images of each step of the search.",
    lower_bound=1,
    upper_bound=65536,
)
LEARNING_RATE = flags.DEFINE_float(
    "search_learning_rate",
    SearchSchedule.learning_rate,
    "Weights' rate at the start of the joint phase (cosine).",
    lower_bound=1e-8,
    upper_bound=100.0,
)
WARMUP_LEARNING_RATE = flags.DEFINE_float(
    "search_warmup_learning_rate",
    SearchSchedule.warmup_learning_rate,
    "Weights' rate at the start of the warm-up (cosine).",
    lower_bound=1e-8,
    upper_bound=100.0,
)
ALPHA_LEARNING_RATE = flags.DEFINE_float(
    "search_alpha_learning_rate",
    SearchSchedule.alpha_learning_rate,
    "Adam's rate for the architecture parameters.",
    lower_bound=1e-8,
    upper_bound=10.0,
)
ALPHA_EVERY = flags.DEFINE_integer(
    "search_alpha_every",
    SearchSchedule.alpha_every,
    "Weight steps before each architecture step.",
    lower_bound=1,
)
HELD_OUT = flags.DEFINE_float(
    "search_held_out",
    SearchSchedule.held_out,
    "Images of the training split, equally many of each class, that only "
    "architecture steps see; below 1: a share of the split.",
    lower_bound=0.0,
)
WEIGHT_DECAY = flags.DEFINE_float(
    "search_weight_decay",
    SearchSchedule.weight_decay,
    "L2 weight decay of kernels on the sampled path.",
    lower_bound=0.0,
    upper_bound=1.0,
)
LABEL_SMOOTHING = flags.DEFINE_float(
    "search_label_smoothing",
    SearchSchedule.label_smoothing,
    "Share of each label that is spread over all classes, in weight steps.",
    lower_bound=0.0,
    upper_bound=0.9,
)
MIN_CROP_AREA = flags.DEFINE_float(
    "search_min_crop_area",
    Augmentation.min_crop_area,
    "Smallest share of the image's area in a random crop of weight steps; 1: no random crop.",
    lower_bound=0.01,
    upper_bound=1.0,
)


def search_config(latency_table: str = "") -> SearchConfig:
    """The stage's settings.

    Args:
      latency_table: used where --latency_table is not given.
    """
    schedule = SearchSchedule(
        warmup_epochs=WARMUP_EPOCHS.value,
        epochs=EPOCHS.value,
        batch_size=BATCH_SIZE.value,
        warmup_learning_rate=WARMUP_LEARNING_RATE.value,
        learning_rate=LEARNING_RATE.value,
        alpha_learning_rate=ALPHA_LEARNING_RATE.value,
        alpha_every=ALPHA_EVERY.value,
        held_out=HELD_OUT.value,
        weight_decay=WEIGHT_DECAY.value,
        label_smoothing=LABEL_SMOOTHING.value,
        tied_epochs=TIED_EPOCHS.value,
    )
    return SearchConfig(
        data=data.data_config(),
        latency_table=LATENCY_TABLE.value or latency_table,
        budget=Budget(latency_ms=TARGET_LATENCY.value, params=MAX_PARAMS.value, macs=MAX_MACS.value),
        augmentation=Augmentation(
            MIN_CROP_AREA.value,
            augmentation.FLIP.value,
            augmentation.COLOR_JITTER.value,
            augmentation.RESIZE_ROBUSTNESS.value,
            augmentation.REDUCED_DECODING.value,
        ),
        space=space.SPACE.value,
        resolution=space.RESOLUTION.value,
        width_multiplier=space.WIDTH_MULTIPLIER.value,
        missing_latency=MISSING_LATENCY.value,
        schedule=schedule,
        algorithm=ALGORITHM.value,
        gate_mode=GATE_MODE.value,
        max_gate_paths=MAX_GATE_PATHS.value,
        latency_loss=LATENCY_LOSS.value,
        derive=DERIVE.value,
        min_budget_share=MIN_BUDGET_SHARE.value,
        drop_candidates=DROP_CANDIDATES.value,
        num_candidates=NUM_CANDIDATES.value,
        judged_networks=JUDGED_NETWORKS.value,
        judge_epochs=JUDGE_EPOCHS.value,
        judge_rounds=JUDGE_ROUNDS.value,
        finalists=FINALISTS.value,
        finalist_epochs=FINALIST_EPOCHS.value,
        jit_compile=compute.JIT_COMPILE.value,
        mixed_precision=compute.MIXED_PRECISION.value,
        checkpoint_minutes=saving.CHECKPOINT_MINUTES.value,
        keep_checkpoints=saving.KEEP_CHECKPOINTS.value,
        seed=common.SEED.value,
        shards=shards.SHARDS.value,
    )
