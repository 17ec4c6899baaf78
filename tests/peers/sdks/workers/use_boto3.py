"""boto3: by AWS_ENDPOINT_URL_S3, with dummy keys from the environment."""

import json

import boto3
from botocore.config import Config

s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}))
pages = [item["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket="orders") for item in page["Contents"]]
created = s3.put_object(Bucket="orders", Key="2026/3.json", Body=b'{"order": 17}')
print(json.dumps({"read": pages[0], "pages": pages, "wrote": created["ETag"]}))
