// Drives an agent by the npm package msgpack5rpc, which knows nothing of moorage: SOCKET is its argument.
'use strict';

const net = require('net');
const Session = require('msgpack5rpc');

const session = new Session();
const heard = [];
session.on('notification', (name, args) => heard.push([name, args]));

const call = (method, params) =>
  new Promise((resolve, reject) =>
    session.request(method, params ? [params] : [], (error, result) => (error ? reject(error) : resolve(result))));

async function main(socket) {
  await call('subscribe', {events: ['interface_allocated', 'interface_released']});
  const told = {
    hello: await call('hello'),
    allocated: await call('allocate', {id: 'peer', ports: ['8080:80'], labels: {'über': 'grün'}}),
    published: await call('publish', {id: 'peer', ports: ['53/udp']}),
    list: await call('list'),
    error: await call('inspect', {id: 'ghost'}).catch((error) => error),
    released: await call('release', {id: 'peer'}),
  };
  await call('hello'); // events are sent as they happen: all are here before this answer
  console.log(JSON.stringify(Object.assign(told, {events: heard})));
  socket.end();
}

const socket = net.createConnection(process.argv[2], () => {
  session.attach(socket, socket);
  main(socket).catch((error) => {
    console.error(error);
    process.exit(1);
  });
});
