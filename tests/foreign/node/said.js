// What a program tells the test that runs it: one JSON object a line.
module.exports = { say: (event, fields) => console.log(JSON.stringify({ event, ...fields })) };
