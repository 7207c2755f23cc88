"""The ClientApp of a job, as Flower finds it in the bundle."""

from flwr.clientapp import ClientApp

from fedspan.flower import client

app = ClientApp()
app.train()(client.train)
app.evaluate()(client.evaluate)
