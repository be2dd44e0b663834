"""The Python library omni-box, driven by the tests beside this file: a command, its arguments as JSON on standard input, one JSON line as the answer."""

import asyncio
import json
import logging
import sys
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from omni_box import (
    InboxConsumerRunner,
    OmniBoxDomainService,
    OutboxPublisher,
    handler_completed,
)
from omni_box.core.converters import EnvelopeEventConverter, RawEventConverter, SchemaVersionedConverter
from omni_box.infra.brokers.kafka import KafkaEventConsumer, KafkaEventPublisher
from omni_box.infra.storage.postgres import PostgresInboxRepository, PostgresOutboxRepository
from omni_box.infra.storage.postgres.orm import (
    InboxEventDBBase,
    InboxEventPartitionedDBBase,
    OutboxEventDBBase,
    OutboxEventPartitionedDBBase,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import CreateIndex, CreateTable

structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)

CONVERTERS = {
    "raw": RawEventConverter,
    "schema_versioned": SchemaVersionedConverter,
    "envelope": EnvelopeEventConverter,
}
PATIENCE = 60


class Base(DeclarativeBase):
    pass


class OutboxEventDB(OutboxEventDBBase, Base):
    pass


class InboxEventDB(InboxEventDBBase, Base):
    pass


class PartitionedBase(DeclarativeBase):
    pass


class OutboxEventPartitionedDB(OutboxEventPartitionedDBBase, PartitionedBase):
    pass


class InboxEventPartitionedDB(InboxEventPartitionedDBBase, PartitionedBase):
    pass


@asynccontextmanager
async def sessions(url, time_zone="UTC"):
    url = url.replace("postgres://", "postgresql+asyncpg://").replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(
        url.split("?")[0], connect_args={"server_settings": {"timezone": time_zone}}
    )
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


def models():
    """What the library's models create, as statements."""
    dialect = postgresql.dialect()
    for table in (OutboxEventDB.__table__, InboxEventDB.__table__):
        yield str(CreateTable(table).compile(dialect=dialect))
        for index in sorted(table.indexes, key=lambda index: index.name):
            yield str(CreateIndex(index).compile(dialect=dialect))


async def create_tables(url, partitioned=False):
    base = PartitionedBase if partitioned else Base
    async with sessions(url) as make, make() as session, session.begin():
        await (await session.connection()).run_sync(base.metadata.create_all)


async def enqueue(url, events):
    """Creates each event in a transaction of its own; tells their ids."""
    ids = []
    async with sessions(url) as make:
        for event in events:
            event["aggregate_id"] = UUID(event["aggregate_id"])
            async with make() as session, session.begin():
                repository = PostgresOutboxRepository(session, model_class=OutboxEventDB)
                stored = await repository.create(OmniBoxDomainService().create_outbox_event(**event))
                ids.append(str(stored.id))
    return ids


async def publish(url, brokers, converter, topic=None, time_zone="UTC"):
    """Publishes what is due, batch by batch, until nothing is; tells the ids in their order."""
    published = []
    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        async with sessions(url, time_zone) as make:
            broker = KafkaEventPublisher(producer, CONVERTERS[converter]())
            while True:
                async with make() as session, session.begin():
                    repository = PostgresOutboxRepository(session, model_class=OutboxEventDB)
                    filters = {"topic": topic} if topic else {}
                    result = await OutboxPublisher(repository, broker).publish_batch("python-1", 100, **filters)
                if not result.processed_event_ids:
                    return published
                published += [str(id) for id in result.processed_event_ids]
    finally:
        await producer.stop()


class Transactions:
    def __init__(self, make):
        self.make = make

    @asynccontextmanager
    async def transaction(self):
        async with self.make() as session, session.begin():
            yield PostgresInboxRepository(session, model_class=InboxEventDB)


async def consume(url, brokers, topics, group, kafka_group, count, handle=False):
    """Takes so many messages into the inbox, or gives up; tells what became of each."""
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=brokers,
        group_id=kafka_group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )

    async def handler(event, repository):
        return handler_completed()

    results = []
    async with sessions(url) as make:
        runner = InboxConsumerRunner(
            KafkaEventConsumer(consumer),
            Transactions(make),
            handler if handle else None,
            worker_id="python-1",
            consumer_group=group,
        )
        await runner.start()
        try:
            for _ in range(count):
                try:
                    result = await asyncio.wait_for(runner.process_one(), PATIENCE)
                    results.append({"message_id": result.message_id, "duplicate": result.duplicate})
                except Exception as error:
                    results.append({"error": type(error).__name__})
        finally:
            await runner.stop()
    return results


COMMANDS = {
    "create_tables": create_tables,
    "enqueue": enqueue,
    "publish": publish,
    "consume": consume,
}


def main():
    command, arguments = sys.argv[1], json.load(sys.stdin)
    answer = list(models()) if command == "models" else asyncio.run(COMMANDS[command](**arguments))
    print(json.dumps(answer))


main()
