"""SQLite as the database of a service with many threads."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from oslo_db.sqlalchemy import enginefacade, engines


def queue_writers() -> None:
    """oslo.db begins every transaction as a reader. Two that read and then write meet "database is
    locked" at once, however long the timeout. Writers say so at the beginning here, and wait."""
    factory, writer = enginefacade._TransactionFactory, enginefacade._WRITER
    create_connection, create_session = factory._create_connection, factory._create_session

    def connection(self, mode):
        made = create_connection(self, mode)
        return made.execution_options(writer=True) if mode is writer else made

    def session(self, mode, bind=None):
        if mode is writer and bind is None:
            if not self._started:
                self._start()
            bind = self._writer_engine.execution_options(writer=True)
        return create_session(self, mode, bind)

    factory._create_connection, factory._create_session = connection, session
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "begin", _begin)
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", _connect)


@engines._init_connection_args.dispatch_for("sqlite")
def _keep_connections(url: Any, engine_args: dict[str, Any], kw: dict[str, Any]) -> None:
    """oslo.db opens the file anew for each transaction, and closing its only connection folds the
    write-ahead log. Kept open, however many threads ask, a call costs a third less."""
    engine_args |= {"poolclass": sqlalchemy.pool.QueuePool, "pool_size": 8, "max_overflow": -1}


def _begin(connection) -> None:
    writes = connection.get_execution_options().get("writer")
    begun = "in_transaction"  # what oslo.db looks at before it begins one itself
    if connection.dialect.name == "sqlite" and writes and begun not in connection.info:
        connection.execute(sqlalchemy.text("BEGIN IMMEDIATE"))
        connection.info[begun] = True


def _connect(connection, _record) -> None:
    if type(connection).__module__.startswith("sqlite3"):
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")  # Keystone and Neutron rely on the cascades
