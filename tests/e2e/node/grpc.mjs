// A gRPC client that knows no .proto of Sluice: it asks the server's reflection for them (fields are
// then named as in the .proto, with underscores). Its argument is
// a JSON object {address, ca, cert, key, token, plain, steps}; a step is {"list": true},
// {"health": "SERVICE"}, {"call": "package.Service/Method", "request": {...}}, or {"stream": the same,
// "requests": [...]}, which sends the next request after each answer (with $nonce and $version of that
// answer filled in) and gives the answers. It prints one JSON array with an answer for each step,
// {"ok": ...} or {"error": {code, message}}.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const HERE = dirname(fileURLToPath(import.meta.url));
const LOADING = {
  keepCase: false, longs: String, enums: String, bytes: String, defaults: false, oneofs: false };
const options = JSON.parse(process.argv[2]);

const file = (path) => (path ? readFileSync(path) : null);
const credentials = options.plain
  ? grpc.credentials.createInsecure()
  : grpc.credentials.createSsl(file(options.ca), file(options.key), file(options.cert));
const channel = { "grpc.ssl_target_name_override": "localhost", "grpc.default_authority": "localhost" };
const deadline = () => new Date(Date.now() + 10000);

// A service that both ends know beforehand: reflection itself, and health, which servers do not reflect.
const known = (proto, name) =>
  at(grpc.loadPackageDefinition(protoLoader.loadSync(join(HERE, proto), LOADING)), name);
const at = (tree, path) => path.split(".").reduce((node, name) => node?.[name], tree);

function reflect(request) {
  const Reflection = known("reflection.proto", "grpc.reflection.v1alpha.ServerReflection");
  const client = new Reflection(options.address, credentials, channel);
  return new Promise((resolve, reject) => {
    const stream = client.ServerReflectionInfo({ deadline: deadline() });
    stream.on("data", (answer) => {
      stream.end();
      resolve(answer);
    });
    stream.on("error", reject);
    stream.write(request);
  });
}

async function serviceOf(name) {
  const answer = await reflect({ fileContainingSymbol: name });
  if (answer.errorResponse) {
    throw new Error(answer.errorResponse.errorMessage);
  }
  // A FileDescriptorSet is its files, each as field 1.
  const parts = answer.fileDescriptorResponse.fileDescriptorProto.flatMap((text) => {
    const bytes = Buffer.from(text, "base64");
    const head = [0x0a];
    for (let size = bytes.length; ; size >>>= 7) {
      head.push(size > 0x7f ? (size & 0x7f) | 0x80 : size);
      if (size <= 0x7f) {
        break;
      }
    }
    return [Buffer.from(head), bytes];
  });
  const definition = protoLoader.loadFileDescriptorSetFromBuffer(Buffer.concat(parts), LOADING);
  return at(grpc.loadPackageDefinition(definition), name);
}

async function call(path, request, Known) {
  const [service, method] = path.split("/");
  const Client = Known ?? (await serviceOf(service));
  const client = new Client(options.address, credentials, channel);
  const metadata = new grpc.Metadata();
  if (options.token) {
    metadata.set("authorization", `Bearer ${options.token}`);
  }
  return new Promise((resolve, reject) => {
    client[method](request, metadata, { deadline: deadline() }, (error, answer) =>
      error ? reject(error) : resolve(answer));
  });
}

async function stream(path, requests) {
  const [service, method] = path.split("/");
  const Client = await serviceOf(service);
  const client = new Client(options.address, credentials, channel);
  return new Promise((resolve, reject) => {
    const answers = [];
    const rest = requests.map((request) => JSON.stringify(request));
    const both = client[method]({ deadline: deadline() });
    both.on("data", (answer) => {
      answers.push(answer);
      if (answers.length === requests.length) {
        both.end();
        resolve(answers);
        return;
      }
      const version = answer.version_info ?? "";
      both.write(JSON.parse(rest.shift().replace("$nonce", answer.nonce).replace("$version", version)));
    });
    both.on("error", reject);
    both.write(JSON.parse(rest.shift()));
  });
}

async function step(what) {
  if (what.list) {
    const answer = await reflect({ listServices: "*" });
    return answer.listServicesResponse.service.map((service) => service.name);
  }
  if (what.health !== undefined) {
    const health = known("health.proto", "grpc.health.v1.Health");
    return call("grpc.health.v1.Health/Check", { service: what.health }, health);
  }
  if (what.stream) {
    return stream(what.stream, what.requests);
  }
  return call(what.call, what.request ?? {});
}

const answers = [];
for (const what of options.steps) {
  try {
    answers.push({ ok: await step(what) });
  } catch (error) {
    answers.push({ error: { code: error.code, message: error.details ?? error.message } });
  }
}
console.log(JSON.stringify(answers));
process.exit(0);
