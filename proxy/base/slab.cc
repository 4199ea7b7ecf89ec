#include "proxy/base/slab.h"

#include <cstdint>
#include <new>

#include "proxy/base/check.h"

namespace sluice {

Slab::~Slab() {
  SLUICE_DCHECK(used_ == 0);
  while (open_ != nullptr) {
    Chunk* chunk = open_;
    unlink(*chunk);
    ::operator delete(chunk, std::align_val_t(kChunkBytes));
  }
}

void Slab::link(Chunk& chunk) {
  chunk.prev = nullptr;
  chunk.next = open_;
  if (open_ != nullptr) {
    open_->prev = &chunk;
  }
  open_ = &chunk;
}

void Slab::unlink(Chunk& chunk) {
  (chunk.prev != nullptr ? chunk.prev->next : open_) = chunk.next;
  if (chunk.next != nullptr) {
    chunk.next->prev = chunk.prev;
  }
}

void Slab::add_chunk() {
  auto* memory =
      static_cast<std::byte*>(::operator new(kChunkBytes, std::align_val_t(kChunkBytes)));
  auto* chunk = new (memory) Chunk{};
  for (std::size_t i = kCellsPerChunk; i > 0; --i) {  // taken in the order of their addresses
    chunk->free = new (memory + i * kCellBytes) Cell{chunk->free};
  }
  ++chunks_;
  link(*chunk);
}

void* Slab::take() {
  if (open_ == nullptr) {
    add_chunk();
  }
  Chunk& chunk = *open_;
  Cell* cell = chunk.free;
  chunk.free = cell->next;
  ++chunk.used;
  ++used_;
  if (chunk.free == nullptr) {
    unlink(chunk);
  }
  return cell;
}

void Slab::give(void* cell) {
  auto* chunk = reinterpret_cast<Chunk*>(reinterpret_cast<std::uintptr_t>(cell) &
                                         ~std::uintptr_t{kChunkBytes - 1});
  if (chunk->free == nullptr) {
    link(*chunk);
  }
  chunk->free = new (cell) Cell{chunk->free};
  --chunk->used;
  --used_;
  if (chunk->used == 0 && used_ > 0) {
    unlink(*chunk);
    --chunks_;
    ::operator delete(chunk, std::align_val_t(kChunkBytes));
  }
}

}  // namespace sluice
