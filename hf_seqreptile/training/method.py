"""What a method says of itself: to the command line, the plan, the model card and a dry run."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import TrainingArguments

from ..errors import InputError
from ..publishing.hub_repository import check_push
from .pushing import PushMixin
from .setting import Setting, settings_of
from .task_shares import SHARES
from .training_args import MultiTaskTrainingArguments

COMPARED_IN_THE_PAPER = "This paper compares its own method with this one:"


class MethodMixin(PushMixin):
    """A method's name, words and settings.

    What a class says of itself holds for what is derived from it under the same name alone: under another `method`,
    `title` is that name and `citation` the one below unless they are given anew, and where `task_probabilities` is
    overridden, so is `probabilities_in_words`, if only by words that cannot be wrong.
    """

    method: ClassVar[str]
    """The name typed on the command line."""
    title: str
    """The name in the model card."""
    citation: str = "The software that trained this model implements, among others, the method of this paper:"
    """How the method has to do with the paper that the card cites."""
    tags: ClassVar[tuple[str, ...]] = ()
    """For the Hub."""
    probabilities_in_words: ClassVar[str] = "p_t ∝ N_t^q, q = {q:g}"
    """How tasks are drawn; without `{q}`, --task_sampling_exponent has no effect and is refused."""
    default_tasks_per_step: ClassVar[int] = 8
    """M where the user gives none: eight draws, as for the paper's baselines."""

    is_about_several: ClassVar[bool] = True
    """Whether the method does nothing of its own with a single task."""
    could_take_one_task_a_step: ClassVar[bool] = True
    """Whether the method is of use with M = 1."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "method" in own:
            cls.title = own.get("title", cls.method)
            cls.citation = own.get("citation", MethodMixin.citation)
        is_overridden = "task_probabilities" in own and any(hasattr(p, "task_probabilities") for p in cls.__bases__)
        if is_overridden and "probabilities_in_words" not in own:
            cls.probabilities_in_words = "p_t of its own rule"

    @classmethod
    def check_arguments(cls, args: TrainingArguments) -> None:
        """Refuse arguments of another class, of another method, or settings that this method does not have."""
        if not isinstance(args, MultiTaskTrainingArguments):
            raise InputError(
                f"{cls.__name__} needs MultiTaskTrainingArguments, which take all arguments of TrainingArguments; "
                f"got {type(args).__name__}."
            )
        if args.is_given("method") and args.method.partition(":")[0] != cls.method:
            raise InputError(
                f"{cls.__name__} trains with method {cls.method!r}, but args.method is {args.method!r}; write "
                f"MultiTaskTrainingArguments(method={cls.method!r}, ...)."
            )
        check_push(args)
        own = cls.own_settings(type(args))
        for name, setting in settings_of(type(args)).items():
            if setting.methods and name not in own and args.is_given(name):
                raise InputError(
                    f"--{name} is a setting of --method {' and '.join(setting.methods)}, and --method {cls.method} "
                    f"has no use for it; remove it or change the method."
                )
        for name in () if cls.exponent_counts() else ("task_sampling_exponent", *SHARES):
            if args.is_given(name):
                raise InputError(
                    f"--{name} has no effect with --method {cls.method}, which draws tasks with "
                    f"{cls.probabilities_in_words}; remove it."
                )
        if args.is_given("task_sampling_exponent") and args.task_weights:
            raise InputError("--task_weights and --task_sampling_exponent both say how tasks are drawn; remove one.")

    @classmethod
    def refuse_adapters(cls) -> None:
        """Refuse to train PEFT's adapters. Default: every method can.

        Raises:
            InputError: this one cannot.
        """

    @classmethod
    def own_arguments(cls, args: MultiTaskTrainingArguments) -> MultiTaskTrainingArguments:
        """`args`, or, where they name no method, a copy that names this one: other trainers may use them too."""
        if args.method.partition(":")[0] == cls.method:
            return args
        own = copy.copy(args)
        own.method = cls.method
        return own

    @classmethod
    def exponent_counts(cls) -> bool:
        """Whether q has a say in how tasks are drawn."""
        return "{q" in cls.probabilities_in_words

    @classmethod
    def own_settings(cls, arguments: Any = MultiTaskTrainingArguments) -> Mapping[str, Setting]:
        """The settings that this method has and not every method: its own and those of what it is derived from.

        Args:
            arguments: the class of arguments.
        """
        lineage = cls.lineage()
        return {name: one for name, one in settings_of(arguments).items() if not lineage.isdisjoint(one.methods)}

    @classmethod
    def lineage(cls) -> set[str]:
        """The methods whose settings this one has: itself and those that it is derived from."""
        return {vars(parent)["method"] for parent in cls.__mro__ if "method" in vars(parent)}

    @classmethod
    def settings(cls, args: MultiTaskTrainingArguments) -> dict[str, Any]:
        """The method's own settings that its results depend on, as `args` or the method's defaults give them."""
        own = cls.own_settings(type(args))
        return {name: getattr(args, name) for name, setting in own.items() if not setting.is_place}

    @classmethod
    def describe_probabilities(cls, args: MultiTaskTrainingArguments) -> str:
        """How tasks are drawn, as `probabilities_in_words` says it, or as the weights of tasks do."""
        words = cls.probabilities_in_words.format(q=args.task_sampling_exponent)
        if args.task_weights:
            words = f"p_t in the proportions {', '.join(args.task_weights)}"
        cap = args.max_task_passes
        return words if cap is None else f"{words}, and at most {cap:g} passes over a task expected"
