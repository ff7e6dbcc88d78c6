"""The public names, and where each one is defined: the one list of them."""

from .attended import (
    Interrupted as Interrupted,
)
from .backends import (
    Bank as Bank,
    Llama as Llama,
    Remote as Remote,
    RewardModel as RewardModel,
    load as load,
)
from .conductor import (
    conduct as conduct,
)
from .core import (
    Backend as Backend,
    Budget as Budget,
    Completion as Completion,
    Cost as Cost,
    ItslabError as ItslabError,
    Message as Message,
    Node as Node,
    Piece as Piece,
    Problem as Problem,
    Request as Request,
    Result as Result,
    Sampling as Sampling,
    Shape as Shape,
    Tree as Tree,
    Verdict as Verdict,
    Verifier as Verifier,
)
from .handle import (
    solve as solve,
    start as start,
)
from .models import (
    pull as pull,
    quantize as quantize,
)
from .run import (
    Run as Run,
    Strategy as Strategy,
)
from .strategies import (
    ABMCTS as ABMCTS,
    AdaptiveConsistency as AdaptiveConsistency,
    DVTS as DVTS,
    LINE as LINE,
    MCTS as MCTS,
    PARAGRAPH as PARAGRAPH,
    BeamSearch as BeamSearch,
    BestOfN as BestOfN,
    Cascade as Cascade,
    ChainOfThought as ChainOfThought,
    CheckedRefine as CheckedRefine,
    DeepConf as DeepConf,
    Direct as Direct,
    ExtendedThinking as ExtendedThinking,
    FirstVerified as FirstVerified,
    Knockout as Knockout,
    MCTSr as MCTSr,
    ParticleFilter as ParticleFilter,
    ProgramAided as ProgramAided,
    Reflexion as Reflexion,
    RepairWithTests as RepairWithTests,
    Route as Route,
    Router as Router,
    SelfConsistency as SelfConsistency,
    SelfRefine as SelfRefine,
    Stage as Stage,
    TreeOfThoughts as TreeOfThoughts,
)
from .study.plan import (
    Named as Named,
    OwnVerifier as OwnVerifier,
    Study as Study,
)
from .verifiers import (
    Agreement as Agreement,
    Arithmetic as Arithmetic,
    Ballot as Ballot,
    Calibrated as Calibrated,
    Checker as Checker,
    Combined as Combined,
    Confidence as Confidence,
    Critic as Critic,
    Judge as Judge,
    Oracle as Oracle,
    PairwiseJudge as PairwiseJudge,
    Probe as Probe,
    Question as Question,
    Reward as Reward,
    Rollouts as Rollouts,
    StepReward as StepReward,
    Tests as Tests,
)
from .viz.lab import (
    lab as lab,
)
from .viz.tree import (
    view as view,
)

__version__: str
