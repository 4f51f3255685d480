// Vercel's AI SDK, run by Node: URL and key are the arguments.
import { generateText, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { z } from "zod";

const [url, key] = process.argv.slice(2);

const weather = tool({
  description: "Tells the weather.",
  inputSchema: z.object({ city: z.string(), days: z.number().int() }),
});

async function turns(model, back) {
  const whole = await generateText({ model: model(`${back}-text`), prompt: "hi" });
  let streamed = "";
  for await (const piece of streamText({ model: model(`${back}-text`), prompt: "hi" }).textStream) {
    streamed += piece;
  }
  const called = streamText({
    model: model(`${back}-tools`),
    prompt: "weather?",
    tools: { get_weather: weather },
  });
  const calls = await called.toolCalls;
  let refused = 0;
  try {
    await generateText({ model: model(`${back}-error`), prompt: "hi", maxRetries: 0 });
  } catch (error) {
    refused = error.statusCode;
  }
  return {
    text: whole.text,
    streamed,
    calls: calls.map((call) => [call.toolName, call.input]),
    input_tokens: whole.usage.inputTokens,
    refused,
  };
}

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: key });
const google = createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key });
console.log(
  JSON.stringify({
    responses: await turns((name) => openai(name), "anthropic"),
    openai: await turns((name) => openai.chat(name), "cohere"),
    anthropic: await turns((name) => anthropic(name), "bedrock"),
    gemini: await turns((name) => google(name), "openai"),
  }),
);
