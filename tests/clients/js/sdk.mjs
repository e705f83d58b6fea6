// What OpenAI's JavaScript SDK makes of the proxy, as one JSON object for the test that runs it.

import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "hello" }];

async function streamed(options, requestOptions) {
  const result = { text: "", usage: null, finish: null, steering: null };
  const stream = await client.chat.completions.create({ messages, stream: true, ...options }, requestOptions);
  for await (const chunk of stream) {
    result.text += chunk.choices[0]?.delta?.content ?? "";
    result.finish = chunk.choices[0]?.finish_reason ?? result.finish;
    result.steering = chunk.steering ?? result.steering;
    result.usage = chunk.usage ?? result.usage;
  }
  return result;
}

async function failure(work) {
  try {
    await work();
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null, code: error.code, param: error.param };
  }
}

const helper = client.chat.completions.stream({ model: "fake", messages, persona: "silly" });
const whole = await client.chat.completions.create({ model: "fake", messages, persona: "silly", coefficient: 0.5 });
const caller = client.chat.completions.stream({
  model: "fake",
  messages: [{ role: "user", content: "!tool" }],
  tools: [{ type: "function", function: { name: "find", parameters: { type: "object" } } }],
});
const called = (await caller.finalChatCompletion()).choices[0].message.tool_calls;
const models = [];
for await (const model of client.models.list()) models.push(model.id);

const responder = client.responses.stream({
  model: "fake",
  input: "!tool",
  tools: [{ type: "function", name: "find", parameters: { type: "object" }, strict: false }],
});
const responded = await responder.finalResponse();
const response = await client.responses.create({ model: "fake", input: "hello", persona: "silly" });
let deltas = "";
for await (const event of await client.responses.create({ model: "fake", input: "!think", stream: true })) {
  if (event.type === "response.output_text.delta") deltas += event.delta;
}
async function respond() {
  for await (const _ of await client.responses.create({ model: "fake", input: "!fail", stream: true }));
}

const say = (content) => ({ messages: [{ role: "user", content }] });
const results = {
  whole: { text: whole.choices[0].message.content, personas: whole.steering.personas },
  body: await streamed({ model: "fake", persona: "silly", stream_options: { include_usage: true } }),
  suffix: await streamed({ model: "fake:silly@-1.5" }),
  headers: await streamed({ model: "fake" }, { headers: { "X-Persona": "silly", "X-Persona-Coefficient": "2" } }),
  helper: (await helper.finalChatCompletion()).choices[0].message.content,
  calls: called.map((call) => [call.function.name, call.function.arguments]),
  response: { text: response.output_text, personas: response.steering.personas, deltas },
  responseCalls: responded.output.filter((item) => item.type === "function_call").map((call) => [call.name, call.arguments]),
  responseBroken: await failure(respond),
  models,
  unknownPersona: await failure(() => streamed({ model: "fake", persona: "sily" })),
  range: await failure(() => streamed({ model: "fake", persona: "silly", coefficient: 9 })),
  broken: await failure(() => streamed({ model: "fake", ...say("!fail") })),
};
console.log(JSON.stringify(results));
