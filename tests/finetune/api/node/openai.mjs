// What a program of OpenAI's Node package does with a server, in one go; tells what came as JSON.
import OpenAI from "openai";
import { createReadStream } from "node:fs";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const { PRIVATUNE_URL: baseURL, PRIVATUNE_API_KEY: apiKey, MODEL: model, BASE: base } = process.env;
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Dim the kitchen." }];
const Light = z.strictObject({ area: z.enum(["kitchen", "bedroom"]), level: z.int().min(0).max(9) });
const told = {};

// A stream as a file has no Content-Length; the job names it before it is checked.
const file = await client.files.create({ file: createReadStream("rows.jsonl"), purpose: "fine-tune" });
const job = await client.fineTuning.jobs.create({ model: base, training_file: file.id, suffix: "node" });
told.created = [file.filename, job.status];
told.events = [];
for await (const event of client.fineTuning.jobs.listEvents(job.id)) told.events.push(event.object);
told.cancelled = (await client.fineTuning.jobs.cancel(job.id)).status;
told.models = [];
for await (const each of client.models.list()) told.models.push(each.id);

const answer = await client.chat.completions.create({ model, messages, max_tokens: 8 });
told.answer = [answer.object, answer.usage.completion_tokens];
told.chunks = 0;
const streamed = await client.chat.completions.create({
  model, messages, max_tokens: 8, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of streamed) {
  told.chunks += 1;
  told.usage = chunk.usage?.completion_tokens ?? null;
}
const parsed = await client.chat.completions.parse({
  model, messages, response_format: zodResponseFormat(Light, "light"), temperature: 1, seed: 1, max_tokens: 300,
});
told.parsed = Light.parse(parsed.choices[0].message.parsed);
const tool = {
  type: "function",
  function: { name: "dim", strict: true, parameters: z.toJSONSchema(Light) },
};
const called = await client.chat.completions.create({
  model, messages, tools: [tool], tool_choice: { type: "function", function: { name: "dim" } },
  temperature: 1, seed: 1, max_tokens: 300,
});
const [call] = called.choices[0].message.tool_calls;
told.called = [call.function.name, Light.parse(JSON.parse(call.function.arguments))];
const response = await client.responses.create({ model, input: "Say 3.", max_output_tokens: 16 });
told.response = response.object;

const fault = async (asked) => {
  try {
    await asked;
    return null;
  } catch (error) {
    return [error.constructor.name, error.status, error.code, Boolean(error.requestID)];
  }
};
told.faults = [
  await fault(client.chat.completions.create({ model: "ft:nobody", messages })),
  await fault(client.chat.completions.create({ model, messages: [] })),
  await fault(new OpenAI({ baseURL, apiKey: "pt-wrong", maxRetries: 0 }).models.list()),
];
console.log(JSON.stringify(told));
