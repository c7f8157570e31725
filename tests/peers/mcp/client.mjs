// An MCP client in JavaScript, as a peer: it starts a server, says what it lists, and calls what it is told to call.
//
//     client.mjs MODE COMMAND...          MODE: legacy | auto | 2026-07-28
//
// The first line on standard output says what the server lists. Then each line `{"tool": .., "arguments": ..}` on
// standard input is answered by one line. The library validates every answer against the tool's output schema; one that
// does not fit ends the program. Ends with 77 where there is no library. PEERS names the directory of `node_modules`.

import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

function libraries() {
  const require = createRequire(join(process.env.PEERS ?? import.meta.dirname, "package.json"));
  try {
    return [require("@modelcontextprotocol/client"), require("@modelcontextprotocol/client/stdio")];
  } catch (error) {
    if (error.code === "MODULE_NOT_FOUND") process.exit(77);
    throw error;
  }
}

const [{ Client }, { StdioClientTransport }] = libraries();
const [mode, command, ...args] = process.argv.slice(2);
const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

const versionNegotiation = { mode: mode === "legacy" || mode === "auto" ? mode : { pin: mode } };
const client = new Client({ name: "javascript-peer", version: "1" }, { versionNegotiation });
await client.connect(new StdioClientTransport({ command, args, env: process.env, cwd: process.cwd() }));
const { tools } = await client.listTools();
say({
  version: client.getNegotiatedProtocolVersion(),
  server: client.getServerVersion()?.name,
  instructions: client.getInstructions(),
  tools: tools.map((tool) => tool.name),
  with_output_schema: tools.filter((tool) => tool.outputSchema !== undefined).length,
});
for await (const line of createInterface({ input: process.stdin })) {
  const { tool, arguments: given } = JSON.parse(line);
  const result = await client.callTool({ name: tool, arguments: given });
  say({
    is_error: result.isError === true,
    structured: result.structuredContent,
    texts: result.content.map((block) => block.text),
  });
}
await client.close();
