"""The spec that ``fedspan job init`` writes."""

from __future__ import annotations

from string import Template
from typing import Final

SPEC: Final = Template("""\
# A federated job. Check it with `fedspan job submit FILE --dry-run`, run it with --watch.
name: $name
rounds: 10
seed: 7                      # the same seed gives the same model, bit by bit

# Sites that train, as `fedspan site list` shows them.
participants: [seoul, busan, daejeon]
quorum: 2                    # so many must reply for a round to count; default: all

model:                       # declared layers ...
  layers:
    - batch_norm: {}         # takes measurements as they are
    - linear: 32
    - relu: {}
    - dropout: 0.1
    - linear: 2              # one output a class
# file: model.pt2            # ... or a program saved by torch.export (never a pickle)
# app: ./my-app              # ... or a Flower app, without `training` and `strategy` below

data:
  dataset: breast-cancer     # each participant offers one of this name
  target: diagnosis          # the column that holds the class
  positive: malignant        # whose precision and recall count, when there are two classes
  holdout: 0.2               # share of each site's rows kept for evaluation

training:                    # at each site, each round
  optimizer: adam            # adam, adamw or sgd
  learning_rate: 0.005
  batch_size: 32
  local_epochs: 3
  loss: cross_entropy

strategy:                    # a strategy of Flower and its options, say
  name: fedavg               #   {name: fedprox, proximal_mu: 0.1}

selection:                   # the best round by `metric` among those that reach `at_least`
  metric: f1                 # accuracy, recall, precision or f1
  at_least: 0.9

# aggregator:                # where it may run; a comment shows what holds without it
#   need:
#     vcpus: 2
#     memory_mib: 4096
#     arch: x86              # or arm; default: either
#     gpu: {count: 1, model: T4}   # default: none
#   regions:                 # providers (aws), regions (aws:eu-west-1), countries (DE), eu, eea
#     allow: [eu]            # default: all
#     deny: [CH]
#   purchase: any            # spot, on_demand, any, or deadline: spot while slack lasts
#   network:                 # who reaches it: participants alone, from the addresses they have
#     allow_cidrs: [0.0.0.0/0]
#   between_rounds: keep     # stop: given back while all participants train for long
#   approve: true            # wait for `fedspan job approve`; default: start at the best place

# placement:                 # how places are compared; `fedspan place --spec FILE` shows them
#   score: balanced          # cost against time, or money: the bill and hour_usd for each hour
#   balance: 0.5             # of the balanced score, the weight of cost
#   hour_usd: 0              # of the money score, what an hour of waiting is worth
#   checkpoint_every: 1      # rounds
#   egress_used_gb: {aws: 50}    # sent this month already, before this job

limits:                      # 90s, 10m, 2h, 1d
  deadline: 2h               # for the whole job
  round: 10m                 # for one round
  node_wait: 5m              # for the participants to connect
  # budget_usd: 5            # for the whole job
  # max_rtt_ms: 150          # between any participant and the aggregator
  # max_interruption: 0.2    # probability that a spot aggregator is interrupted

# notify:
#   - webhook: https://example.org/hook
""")


def spec(name: str) -> str:
    return SPEC.substitute(name=name)
