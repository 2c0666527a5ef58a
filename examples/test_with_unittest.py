"""The same without pytest: `aiotcp.testing.run` is all it takes.

python -m unittest examples/test_with_unittest.py
"""

import asyncio
import unittest

from aiotcp.testing import Net, run


async def echo() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    await (await asyncio.start_server(answer, port=7)).serve_forever()


async def ask(text: bytes) -> bytes:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("server", 7)
        writer.write(text)
        line = await reader.readline()
        writer.close()
        return line


class EchoTest(unittest.TestCase):
    def test_every_seed(self) -> None:
        async def main(net: Net) -> bytes:
            net.netem("delay 40ms 20ms loss 10% reorder 5%")
            net.host("server").run(echo())
            return await net.host("client").run(ask(b"hello\n"))

        for seed in range(20):
            with self.subTest(seed=seed):
                self.assertEqual(run(main, seed=seed), b"hello\n")

    def test_an_hour_without_a_network(self) -> None:
        async def main(net: Net) -> None:
            server, client = net.host("server"), net.host("client")
            server.run(echo())
            net.partition()
            with self.assertRaises(TimeoutError):
                await client.run(ask(b"hello\n"))
            await net.sleep(3600)
            net.heal()
            self.assertEqual(await client.run(ask(b"hello\n")), b"hello\n")

        run(main)


if __name__ == "__main__":
    unittest.main()
