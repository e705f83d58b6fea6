// OpenAI's JavaScript SDK with a persona: npm install openai, then node chat.mjs.

import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.BASE_URL ?? "http://127.0.0.1:8000/v1",
  apiKey: process.env.API_KEY ?? "none",
});
const model = process.env.MODEL ?? "demo-qwen2";
const messages = [{ role: "user", content: "What is the capital of France?" }];

const answer = await client.chat.completions.create({ model, messages, persona: "silly", coefficient: 1.0 });
console.log(answer.choices[0].message.content);
console.log("what was done:", JSON.stringify(answer.steering));

// The same as the persona "serious" at 1.
const stream = await client.chat.completions.create({ model: `${model}:silly@-1`, messages, stream: true });
for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
}
process.stdout.write("\n");
