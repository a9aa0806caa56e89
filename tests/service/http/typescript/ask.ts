// A program on the types of the OpenAPI document: asks the service in its argument, and prints what it was told.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Answer = components["schemas"]["RetrieveResponse"];

declare const process: { argv: string[] };
const [url, pixels] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: url });

async function ask(guarantee: "label" | "item"): Promise<Answer> {
  const { data, error } = await client.POST("/retrieve", {
    body: { pixels: JSON.parse(pixels) as number[][][], guarantee, top_k: 2 },
  });
  if (error) throw new Error(error.detail);
  if (typeof data === "string") throw new Error("events, which only who accepts them is sent");
  return data;
}

const model = await client.GET("/model");
const item = await ask("item");
const file = await client.GET("/gallery/items/{item_id}", { params: { path: { item_id: item.neighbor.id } } });
// What is wrong is told by its name, in the one shape of all problems.
const refused = await client.POST("/retrieve", { body: { image: "AAAA", top_k: 0 } });

// @ts-expect-error no guarantee has this name
await ask("colour").catch(() => {});
// @ts-expect-error a radius is a number
const radius: string = item.certificate.radius;

console.log(
  JSON.stringify({
    sigma: model.data?.sigma,
    label: item.neighbor.label,
    radius,
    second: item.neighbors[0]?.id,
    listed: file.data?.label,
    refused: refused.error?.errors?.map(({ option }) => option),
  }),
);
