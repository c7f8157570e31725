"""An MCP client in Python, as a peer: it starts a server, says what it lists, and calls what it is told to call.

    client.py MODE COMMAND...          MODE: legacy | auto | 2026-07-28

The first line on standard output says what the server lists. Then each line `{"tool": .., "arguments": ..}` on standard
input is answered by one line. The library validates every answer against the tool's output schema; one that does not
fit ends the program. Ends with 77 where there is no library.
"""

import asyncio
import json
import os
import sys

try:
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters
except ImportError:
    sys.exit(77)


def say(message):
    print(json.dumps(message), flush=True)


async def main(mode, command):
    server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ), cwd=os.getcwd())
    async with Client(server, mode=mode) as client:
        tools = (await client.list_tools()).tools
        say(
            {
                "version": client.protocol_version,
                # Nobody asks the server who it is where the version is settled beforehand.
                "server": client.server_info.name if client.server_info else None,
                "instructions": client.instructions,
                "tools": [tool.name for tool in tools],
                "with_output_schema": sum(tool.output_schema is not None for tool in tools),
            }
        )
        while line := await asyncio.to_thread(sys.stdin.readline):
            call = json.loads(line)
            result = await client.call_tool(call["tool"], call["arguments"])
            say(
                {
                    "is_error": bool(result.is_error),
                    "structured": result.structured_content,
                    "texts": [block.text for block in result.content],
                }
            )


asyncio.run(main(sys.argv[1], sys.argv[2:]))
