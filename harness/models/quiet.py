"""transformers, datasets, bitsandbytes and lm-eval talk while they work; the person asked for our words."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


def quiet_libraries() -> None:
    """No progress bars between ours, and of the libraries' messages only errors."""
    # Before transformers is imported: bitsandbytes speaks on import.
    for name in ("bitsandbytes", "bitsandbytes.backends.utils", "lm_eval", "peft", "trl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore", FutureWarning)
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()


@contextlib.contextmanager
def quiet_lm_eval() -> Iterator[None]:
    """Silence lm-eval's warnings about choices that the harness makes on purpose."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
