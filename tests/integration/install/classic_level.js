// Makes classic_level_db.tar.gz, a LevelDB that Node wrote, and what it holds:
//
//     npm install classic-level@3 && node classic_level.js OUTPUT_DIRECTORY
//     tar -C OUTPUT_DIRECTORY --exclude=LOCK --exclude=LOG.old -czf classic_level_db.tar.gz db expected.json
//
// expected.json: [[key, value], ...] in the order of the keys, both as Base64.

const { createHash } = require('node:crypto')
const { mkdirSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')
const { ClassicLevel } = require('classic-level')

const bytes = (seed, length) => {
  let all = Buffer.alloc(0)
  for (let i = 0; all.length < length; i++) {
    all = Buffer.concat([all, createHash('sha256').update(`${seed} ${i}`).digest()])
  }
  return all.subarray(0, length)
}
const binary = { keyEncoding: 'buffer', valueEncoding: 'buffer' }

async function main (output) {
  mkdirSync(output, { recursive: true })
  const location = join(output, 'db')

  let db = new ClassicLevel(location, binary)
  await db.open()
  for (let i = 0; i < 150; i++) await db.put(bytes(`key ${i}`, 1 + i % 12), bytes(`value ${i}`, i % 20))
  const batch = []
  for (let i = 0; i < 200; i++) {
    batch.push({ type: 'put', key: Buffer.from(`user:${i}`), value: Buffer.from(JSON.stringify({ i, name: `ü ${i}` })) })
  }
  await db.batch(batch)
  await db.put(Buffer.from([0]), Buffer.alloc(0))
  await db.put(Buffer.from([0xff, 0xff]), Buffer.from([0, 0xff, 0]))
  await db.close()

  db = new ClassicLevel(location, binary)
  await db.open()
  for (let i = 0; i < 200; i += 3) await db.del(Buffer.from(`user:${i}`))
  for (let i = 1; i < 200; i += 5) await db.put(Buffer.from(`user:${i}`), bytes(`again ${i}`, 20))
  await db.compactRange(Buffer.from([0]), Buffer.from([0xff]))
  // a sublevel's keys are prefixed: !name!key
  const sublevel = db.sublevel('inner', { valueEncoding: 'json' })
  await sublevel.put('nested', { deep: true })
  await db.del(Buffer.from('user:1'))

  // what came last is in the write-ahead log only
  const expected = []
  for await (const [key, value] of db.iterator()) expected.push([key.toString('base64'), value.toString('base64')])
  writeFileSync(join(output, 'expected.json'), JSON.stringify(expected))
  await db.close()
  console.log(`${expected.length} keys`)
}

main(process.argv[2])
