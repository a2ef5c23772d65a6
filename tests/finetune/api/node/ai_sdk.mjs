// The Vercel AI SDK over both of its providers; tells what came as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, streamText, tool } from "ai";
import { z } from "zod";

const { PRIVATUNE_URL: baseURL, PRIVATUNE_API_KEY: apiKey, MODEL: name } = process.env;
const Light = z.strictObject({ area: z.enum(["kitchen", "bedroom"]), level: z.int().min(0).max(9) });
const asked = { prompt: "Dim the kitchen.", maxRetries: 0, temperature: 1, seed: 1, maxOutputTokens: 300 };
const told = {};

const models = {
  chat: createOpenAICompatible({ name: "privatune", baseURL, apiKey, supportsStructuredOutputs: true })(name),
  responses: createOpenAI({ baseURL, apiKey })(name),
};
for (const [wire, model] of Object.entries(models)) {
  const plain = { ...asked, maxOutputTokens: 16, model };
  const whole = await generateText(plain);
  let length = 0;
  for await (const part of streamText(plain).textStream) length += part.length;
  const formed = await generateText({ ...asked, model, output: Output.object({ schema: Light }) });
  let switched = null;
  const dim = tool({
    inputSchema: Light,
    execute: async (light) => {
      switched = light;
      return "done";
    },
  });
  await generateText({ ...asked, model, tools: { dim }, toolChoice: { type: "tool", toolName: "dim" } });
  told[wire] = {
    text: typeof whole.text, tokens: whole.usage.outputTokens, length,
    formed: Light.parse(formed.output), switched: Light.parse(switched),
  };
}
console.log(JSON.stringify(told));
