#!/usr/bin/env python3
"""A service of one's own: answers simple.add, and asks the storage service for the clusters.

usage: simple_service.py amqp://USER:PASSWORD@HOST [EXCHANGE]        needs pika
"""
import json, sys, time, uuid
import pika

exchange = (sys.argv[2:] or ["commissaire"])[0]
parameters = pika.URLParameters(sys.argv[1])
user = parameters.credentials.username  # whom the broker checks messages to be from
channel = pika.BlockingConnection(parameters).channel()
channel.confirm_delivery()  # so that a request that nobody serves fails at once
channel.exchange_declare(exchange, "topic", durable=True)

def request(key, params, timeout=10):
    """Asks the service that serves the routing key, and waits for its answer."""
    ident = str(uuid.uuid4())
    replies = channel.queue_declare(f"simple-{ident}", exclusive=True).method.queue
    body = {"jsonrpc": "2.0", "id": ident, "method": key.split(".")[-1], "params": params}
    channel.basic_publish(exchange, key, json.dumps(body), pika.BasicProperties(
        content_type="application/json", reply_to=replies, correlation_id=ident,
        user_id=user, expiration=str(timeout * 1000),
        headers={"deadline": int((time.time() + timeout) * 1000)}), mandatory=True)
    _, _, reply = next(channel.consume(replies, auto_ack=True, inactivity_timeout=timeout))
    channel.cancel()
    return json.loads(reply) if reply else {"error": {"code": -20003, "message": "no answer"}}

def answer(channel, delivery, properties, body):
    """Carries a request out, unless nobody waits for it any more, and answers it."""
    channel.basic_ack(delivery.delivery_tag)
    call, headers = json.loads(body), properties.headers or {}
    if headers.get("deadline", float("inf")) > time.time() * 1000:
        reply = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            if delivery.redelivered:
                raise RuntimeError("another replica has had the request")
            params = call["params"]
            a, b = params if isinstance(params, list) else (params["a"], params["b"])
            reply["result"] = a + b
        except (KeyError, TypeError, ValueError):
            reply["error"] = {"code": -32602, "message": "simple.add takes the numbers a and b"}
        except RuntimeError as error:
            reply["error"] = {"code": -20003, "message": str(error)}
        channel.basic_publish("", properties.reply_to, json.dumps(reply), pika.BasicProperties(
            content_type="application/json", correlation_id=properties.correlation_id, user_id=user))

queue = "requests.simple" if exchange == "commissaire" else f"{exchange}.requests.simple"
channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum", "x-expires": 60000})
channel.queue_bind(queue, exchange, "simple.*")
channel.basic_consume(queue, answer)
print(json.dumps(request("storage.list", {"model_type_name": "Clusters"})), flush=True)
channel.start_consuming()
