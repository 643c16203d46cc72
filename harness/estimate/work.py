"""What one step that is to do will read, take and hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.configurations import Configuration
from harness.estimate.amounts import Amounts
from harness.estimate.memory import Held, Memory, from_parts, paged_states, scoring_parts, training_parts
from harness.estimate.quantities import Note, Quantity
from harness.estimate.records import MeasuringInputs, Records, TrainingInputs
from harness.estimate.sizes import ModelSize, size_of_source
from harness.estimate.speeds import Speeds
from harness.estimate.tokens import Tokens
from harness.experiment.schema import LoadedExperiment, Task, Tuned
from harness.machine import gpus, machine_name, memory_bytes
from harness.store.artifacts import Step, Store

CONVERTED = "model"  # the folder that harness.models.conversion makes
PAGED = "the states of a paged optimiser leave a GPU that is full, and are not in the memory"
FULL_ROWS = Note("in the memory, rows that are not known are taken to be as long as max_length")
UNKNOWN_SIZE = "the memory of a model is unknown until it is downloaded"


@dataclass(frozen=True)
class Work:
    """One step to do."""

    tokens: Quantity
    seconds: Quantity
    memory: Memory


@dataclass(frozen=True)
class Machine:
    """What this machine is called in records, and the memory of its GPU, else its own; None if unknown."""

    name: str
    device: str
    memory: int | None
    memory_of: str


def this_machine() -> Machine:
    cards = gpus()
    if not cards:
        return Machine(machine_name(), "cpu", memory_bytes(), "this machine")
    return Machine(machine_name(), "cuda", cards[0].memory_bytes, cards[0].name)


class Forecast:
    """Estimates for the steps of all experiments that share a store."""

    def __init__(self, store: Store, records: Records, machine: Machine) -> None:
        self.store = store
        self.records = records
        self.machine = machine
        self._amounts: dict[Path, Amounts] = {}
        self._sizes: dict[str, ModelSize | None] = {}
        self._peaks: dict[str, Memory] = {}
        self._speeds = Speeds(records, machine.name, self._parameters)

    def training(self, configuration: Configuration, loaded: LoadedExperiment) -> Work:
        recipe, change = configuration.recipe, configuration.change
        assert recipe is not None  # only tuned configurations are trained
        assert change is not None
        made = TrainingInputs.model_validate(change.inputs)
        size = self._size(configuration, made.identity)  # before the speed, which is scaled by it
        counts = self._tokens(loaded)
        tokens = counts.of_training(recipe, made)
        memory = self._measured_training(recipe, made)
        if memory is None and size is not None:
            held = Held(size, made.dtype, configuration.quantization, self.machine.device)
            memory = self._training_memory(recipe, held, counts.longest_row(recipe, made))
        seconds = self._speeds.of_training(tokens, recipe, made)
        return Work(tokens, seconds, memory or _unknown_size(configuration))

    def measuring(self, configuration: Configuration, measurement: Step, loaded: LoadedExperiment) -> Work:
        made = MeasuringInputs.model_validate(measurement.inputs)
        task = Task.model_validate(made.task)
        size = self._size(configuration, made.identity)
        prompting = configuration.recipe.prompt if configuration.recipe else None
        tokens = self._tokens(loaded).of_measuring(task, prompting, made)
        if made.loading not in self._peaks:
            self._peaks[made.loading] = self._measuring_memory(configuration, made, size)
        seconds = self._speeds.of_measuring(tokens, task.kind, made)
        return Work(tokens, seconds, self._peaks[made.loading])

    def _tokens(self, loaded: LoadedExperiment) -> Tokens:
        data = loaded.experiment.data
        return Tokens(self.records, self.amounts(loaded), data.train if data else None)

    def amounts(self, loaded: LoadedExperiment) -> Amounts:
        """What the sources below its root hold, each read once."""
        return self._amounts.setdefault(loaded.root, Amounts(self.store, loaded.root))

    def _size(self, configuration: Configuration, identity: str) -> ModelSize | None:
        if identity not in self._sizes:
            conversion = configuration.conversion
            converted = None if conversion is None else self.store.folder(conversion) / CONVERTED
            trained = self.records.parameters.get(identity)
            self._sizes[identity] = size_of_source(configuration.source, converted, trained)
        return self._sizes[identity]

    def _parameters(self, identity: str) -> int | None:
        size = self._sizes.get(identity)
        return size.parameters if size else self.records.parameters.get(identity)

    def _measured_training(self, recipe: Tuned, made: TrainingInputs) -> Memory | None:
        """The largest peak of trainings on this machine that held the same."""
        fixed = recipe.micro_batch_size != "auto"
        peaks = [
            each.peak_memory_bytes
            for each in self.records.trained
            if each.machine == self.machine.name
            and each.method == recipe.method
            and each.made_from.loading == made.loading
            and each.made_from.recipe.held == made.recipe.held
            and each.gradient_checkpointing == recipe.gradient_checkpointing
            and (each.micro_batch_size == recipe.micro_batch_size if fixed else True)
        ]
        return Memory(max(peaks), "stored") if peaks else None

    def _training_memory(self, recipe: Tuned, held: Held, longest: int | None) -> Memory:
        """Estimated; with as many rows in a pass as fit a GPU, where the training finds that out itself."""
        rows = recipe.batch_size if recipe.micro_batch_size == "auto" else recipe.micro_batch_size
        rows, row_tokens = min(rows, recipe.batch_size), longest or recipe.max_length
        notes = [note for note in (held.size.note, None if longest else FULL_ROWS) if note]
        paged = paged_states(recipe, held.size)
        if paged is not None:
            notes.append(Note(PAGED, f"{paged / 1e9:.1f} GB"))
        memory = from_parts(training_parts(recipe, held, rows, row_tokens), *notes)
        backs_off = recipe.micro_batch_size == "auto" and held.device == "cuda"
        while backs_off and rows > 1 and not self.fits(memory):
            rows //= 2
            memory = from_parts(training_parts(recipe, held, rows, row_tokens), *notes)
        return memory

    def fits(self, memory: Memory) -> bool:
        """Whether this machine has that much, as far as is known."""
        return memory.value is None or self.machine.memory is None or memory.value <= self.machine.memory

    def _measuring_memory(
        self, configuration: Configuration, made: MeasuringInputs, size: ModelSize | None
    ) -> Memory:
        peaks = [
            each.cost.peak_memory_bytes
            for each in self.records.measured
            if each.machine == self.machine.name and each.made_from.loading == made.loading
        ]
        if peaks:
            return Memory(max(peaks), "stored")
        if size is None:
            return _unknown_size(configuration)
        held = Held(size, made.dtype, configuration.quantization, self.machine.device)
        return from_parts(scoring_parts(held), *([size.note] if size.note else []))


def _unknown_size(configuration: Configuration) -> Memory:
    return Memory(None, "unknown", notes=(Note(UNKNOWN_SIZE, configuration.source.location),))
