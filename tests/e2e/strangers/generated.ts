// What somebody writes who has types by openapi-typescript and the description alone.
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { paths } from "./described.js";

const [url, archive, folder] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: url });

function told<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) {
    throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

const images = await readFile(archive);
const dataset = told(
  await client.POST("/v1/datasets", {
    params: { query: { name: "by typed fetches" } },
    body: images as unknown as string,
    bodySerializer: (body) => body as unknown as BodyInit,
    headers: { "Content-Type": "application/zip" },
  }),
);
const search = told(
  await client.POST("/v1/searches", {
    body: {
      dataset_id: dataset.id,
      policy: "cold",
      training: { epochs: 1, batch_size: 16, seed: 4 },
      space: { channels: 4, layers: 3, nodes: 2, resolution: 16 },
      retrain_epochs: 1,
    },
  }),
);
let job = search.job;
while (job.poll_after_ms != null) {
  await new Promise((resolve) => setTimeout(resolve, job.poll_after_ms!));
  job = told(await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: job.id } } }));
}
if (job.state !== "succeeded") throw new Error(job.error_message ?? job.state);
const found = told(
  await client.GET("/v1/searches/{search_id}", { params: { path: { search_id: search.id } } }),
);
const model = told(
  await client.GET("/v1/models/{model_id}", { params: { path: { model_id: found.model_id! } } }),
);
for (const { name, sha256 } of model.artifacts) {
  const path = { model_id: model.id, name };
  const answer = await client.GET("/v1/models/{model_id}/artifacts/{name}", {
    params: { path },
    parseAs: "arrayBuffer",
  });
  const data = Buffer.from(told(answer) as ArrayBuffer);
  if (createHash("sha256").update(data).digest("hex") !== sha256) throw new Error(name);
  await writeFile(`${folder}/${name}`, data);
}
