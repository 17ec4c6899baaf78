"""Uses boto3 as its makers publish it, with whatever the environment says. Prints what came of each call as JSON."""

import io
import json
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

CONFIG = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, connect_timeout=10, read_timeout=60)
BUCKET = "bucket-1"


def client(service):
    return boto3.client(service, config=CONFIG)


def step(name, call):
    """Prints what a call gives, or the name of its error."""
    try:
        result = call()
    except ClientError as error:
        result = error.response["Error"]["Code"] + " " + str(error.response["ResponseMetadata"].get("HTTPStatusCode"))
        result += " " + error.response["Error"].get("Message", "")[:200]
    except BotoCoreError as error:
        result = f"{type(error).__name__}: {error}"
    print(json.dumps({name: result}), flush=True)


def bootstrap():
    iam = client("iam")
    iam.create_user(UserName="u")
    key = iam.create_access_key(UserName="u")["AccessKey"]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=json.dumps(everything))
    print(json.dumps({"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}))


def sqs():
    sqs = client("sqs")
    name = f"queue-{os.getpid()}"
    url = f"https://sqs.us-east-1.amazonaws.com/123456789012/{name}"
    message = "Grüße & <more> +%"
    step("create", lambda: sqs.create_queue(QueueName=name) and "ok")
    step("send", lambda: sqs.send_message(QueueUrl=url, MessageBody=message) and "ok")
    step("receive", lambda: sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])


def dynamodb():
    table = client("dynamodb")
    key = [{"AttributeName": "k", "KeyType": "HASH"}]
    types = [{"AttributeName": "k", "AttributeType": "S"}]
    step("create", lambda: table.create_table(TableName="t", KeySchema=key, AttributeDefinitions=types, BillingMode="PAY_PER_REQUEST") and "ok")
    step("put", lambda: table.put_item(TableName="t", Item={"k": {"S": "1"}, "v": {"S": "ä b"}}) and "ok")
    step("get", lambda: table.get_item(TableName="t", Key={"k": {"S": "1"}})["Item"]["v"]["S"])


def sts():
    step("identity", lambda: client("sts").get_caller_identity()["Arn"].rpartition("/")[2])


def content(size):
    return bytes(i * 7 % 251 for i in range(min(size, 251))) * (size // 251 + 1)


class Once(io.RawIOBase):
    """A stream that cannot be rewound or measured."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self.data[self.at:self.at + min(len(buffer), 8000)]
        buffer[:len(part)] = part
        self.at += len(part)
        return len(part)


KEYS = ["boto/plain", "boto/a b", "boto/a+b", "boto/100%", "boto/é中", "boto/ä & =?#;,~'()*!@$"]


def put_and_read(s3, key, size):
    data = content(size)[:size]
    s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    return "ok" if s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data else "other content"


def streamed(s3, size):
    data = content(size)[:size]
    s3.upload_fileobj(Once(data), BUCKET, "boto/stream")
    return "ok" if s3.get_object(Bucket=BUCKET, Key="boto/stream")["Body"].read() == data else "other content"


def multipart(s3, size):
    data = content(size)[:size]
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="boto/parts")["UploadId"]
    parts = []
    for number, at in enumerate(range(0, size, 5 << 20), 1):
        part = s3.upload_part(Bucket=BUCKET, Key="boto/parts", UploadId=upload, PartNumber=number, Body=io.BytesIO(data[at:at + (5 << 20)]))
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket=BUCKET, Key="boto/parts", UploadId=upload, MultipartUpload={"Parts": parts})
    return "ok" if s3.get_object(Bucket=BUCKET, Key="boto/parts")["Body"].read() == data else "other content"


def listed(s3):
    found = {one["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="boto/") for one in page.get("Contents", [])}
    return "ok" if set(KEYS) <= found else sorted(set(KEYS) - found)


def objects():
    s3 = client("s3")
    step("put 0", lambda: put_and_read(s3, KEYS[0], 0))
    step("put 5", lambda: next((bad for bad in (put_and_read(s3, key, 5) for key in KEYS) if bad != "ok"), "ok"))
    step("put 70000", lambda: put_and_read(s3, "boto/large", 70000))
    step("stream 200000", lambda: streamed(s3, 200000))
    step("multipart 6000000", lambda: multipart(s3, 6000000))
    step("list", lambda: listed(s3))
    step("delete", lambda: s3.delete_object(Bucket=BUCKET, Key="boto/large") and "ok")


def objects_get():
    s3 = client("s3")
    step("put 5", lambda: put_and_read(s3, "boto/small", 5))
    step("list", lambda: s3.list_objects_v2(Bucket=BUCKET) and "ok")


globals()[sys.argv[1].replace("-", "_")]()
