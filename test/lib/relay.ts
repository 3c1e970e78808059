// A TCP relay that can go silent: what is open then stays open and is never answered again, while whoever connects anew is served.
// Run as a program: LISTEN-PORT ADDRESS PORT. SIGUSR2 silences what is open.
import { connect, createServer, type Socket } from 'node:net';

const [listen, address, port] = process.argv.slice(2) as [string, string, string];
const open = new Set<[Socket, Socket]>();

const server = createServer((client) => {
  const upstream = connect({ host: address, port: Number(port) });
  const pair: [Socket, Socket] = [client, upstream];
  open.add(pair);
  client.pipe(upstream).pipe(client);
  for (const socket of pair)
    socket
      .on('error', () => {})
      .on('close', () => {
        open.delete(pair);
        for (const one of pair) one.destroy();
      });
});
server.listen(Number(listen), '::', () => console.log('ready'));

process.on('SIGUSR2', () => {
  for (const pair of open) {
    for (const socket of pair) {
      socket.unpipe();
      socket.removeAllListeners('close');
      // Read to nowhere: the kernel acknowledges all of it.
      socket.resume();
    }
  }
  console.log(`silent ${open.size}`);
  open.clear();
});
