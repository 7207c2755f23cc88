"""The ServerApp of a job, as Flower finds it in the bundle."""

from flwr.serverapp import ServerApp

from fedspan.flower import server

app = ServerApp()
app.main()(server.main)
