// Uses the AWS SDK for JavaScript as its makers publish it, with whatever the environment says. Prints what came of each
// call as JSON.
import { Readable } from "node:stream";
import * as S3 from "@aws-sdk/client-s3";
import * as SQS from "@aws-sdk/client-sqs";

const bucket = "bucket-1";

async function step(name, call) {
  let result;
  try {
    result = await call();
  } catch (error) {
    result = `${error.name} ${error.Code ?? ""} ${error.$metadata?.httpStatusCode ?? ""} ${String(error.message).slice(0, 200)}`;
  }
  console.log(JSON.stringify({ [name]: result }));
}

async function sqs() {
  const client = new SQS.SQSClient({ maxAttempts: 1, useQueueUrlAsEndpoint: false });
  const name = `node-${process.pid}`;
  const url = `https://sqs.us-east-1.amazonaws.com/123456789012/${name}`;
  await step("create", async () => (await client.send(new SQS.CreateQueueCommand({ QueueName: name }))) && "ok");
  await step("send", async () => (await client.send(new SQS.SendMessageCommand({ QueueUrl: url, MessageBody: "Grüße & <more> +%" }))) && "ok");
  await step("receive", async () => (await client.send(new SQS.ReceiveMessageCommand({ QueueUrl: url }))).Messages[0].Body);
}

const content = (size) => Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i % 251) * 7 % 251));
const keys = ["node/plain", "node/a b", "node/a+b", "node/100%", "node/é中", "node/ä & =?#;,~'()*!@$"];
const s3 = () => new S3.S3Client({ maxAttempts: 1, forcePathStyle: true });

async function same(client, key, data) {
  const answer = await client.send(new S3.GetObjectCommand({ Bucket: bucket, Key: key }));
  return Buffer.from(await answer.Body.transformToByteArray()).equals(data) ? "ok" : "other content";
}

async function putAndRead(client, key, size) {
  const data = content(size);
  await client.send(new S3.PutObjectCommand({ Bucket: bucket, Key: key, Body: data }));
  return same(client, key, data);
}

async function streamed(client, size) {
  const data = content(size);
  const parts = Array.from({ length: Math.ceil(size / 9000) }, (_, i) => data.subarray(i * 9000, (i + 1) * 9000));
  await client.send(new S3.PutObjectCommand({ Bucket: bucket, Key: "node/stream", Body: Readable.from(parts), ContentLength: size }));
  return same(client, "node/stream", data);
}

async function multipart(client, size) {
  const data = content(size);
  const at = { Bucket: bucket, Key: "node/parts" };
  const { UploadId } = await client.send(new S3.CreateMultipartUploadCommand(at));
  const Parts = [];
  for (let number = 1, from = 0; from < size; number += 1, from += 5 << 20) {
    const Body = data.subarray(from, from + (5 << 20));
    const part = await client.send(new S3.UploadPartCommand({ ...at, UploadId, PartNumber: number, Body }));
    Parts.push({ PartNumber: number, ETag: part.ETag });
  }
  await client.send(new S3.CompleteMultipartUploadCommand({ ...at, UploadId, MultipartUpload: { Parts } }));
  return same(client, "node/parts", data);
}

async function objects() {
  const client = s3();
  await step("put 0", () => putAndRead(client, keys[0], 0));
  await step("put 5", async () => {
    for (const key of keys) {
      const result = await putAndRead(client, key, 5);
      if (result !== "ok") return `${key}: ${result}`;
    }
    return "ok";
  });
  await step("put 70000", () => putAndRead(client, "node/large", 70000));
  await step("stream 200000", () => streamed(client, 200000));
  await step("multipart 6000000", () => multipart(client, 6000000));
  await step("list", async () => {
    const answer = await client.send(new S3.ListObjectsV2Command({ Bucket: bucket, Prefix: "node/" }));
    const found = new Set((answer.Contents ?? []).map((one) => one.Key));
    const missing = keys.filter((key) => !found.has(key));
    return missing.length ? missing : "ok";
  });
  await step("delete", async () => (await client.send(new S3.DeleteObjectCommand({ Bucket: bucket, Key: "node/large" }))) && "ok");
}

async function objectsGet() {
  const client = s3();
  await step("put 5", () => putAndRead(client, "node/small", 5));
  await step("list", async () => (await client.send(new S3.ListObjectsV2Command({ Bucket: bucket }))) && "ok");
}

await { sqs, objects, "objects-get": objectsGet }[process.argv[2]]();
