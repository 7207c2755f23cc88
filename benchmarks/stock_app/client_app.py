"""A ClientApp as Flower's documentation writes it."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedspan.learning import training
from stock_app import task

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    module = task.model(context.run_config)
    module.load_state_dict(message.content["arrays"].to_torch_state_dict())
    split = task.rows(context.run_config, str(context.node_config["participant"]))
    result = task.train(module, split)
    metrics = MetricRecord({"num-examples": result.examples, "train_loss": result.loss})
    content = RecordDict({"arrays": ArrayRecord(module.state_dict()), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    module = task.model(context.run_config)
    module.load_state_dict(message.content["arrays"].to_torch_state_dict())
    split = task.rows(context.run_config, str(context.node_config["participant"]))
    result = training.evaluate(module, split.held_x, split.held_y, 2)
    metrics = MetricRecord({"num-examples": result.examples, "loss_sum": result.loss_sum})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
