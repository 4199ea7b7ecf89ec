// Room for many objects of one size, close together: what is small and hot should share pages and
// fill its cache lines, and malloc's headers and gaps spoil both.
#pragma once

#include <cstddef>

namespace sluice {

// Cells of kCellBytes, each aligned to its size (a cache line). One thread. Chunks that have become
// empty are given back, all but one.
class Slab {
 public:
  static constexpr std::size_t kCellBytes = 64;

  Slab() = default;
  // All cells have been given back.
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  void* take();
  void give(void* cell);

  std::size_t used() const { return used_; }
  std::size_t chunks() const { return chunks_; }

 private:
  static constexpr std::size_t kChunkBytes = 16 * 1024;
  struct Cell {
    Cell* next;
  };
  // The first cell of its chunk, which is aligned to its size, so that a cell finds it.
  struct alignas(kCellBytes) Chunk {
    Cell* free;
    Chunk* prev;  // in the list of those with free cells
    Chunk* next;
    std::size_t used;
  };
  static_assert(sizeof(Chunk) == kCellBytes);
  static constexpr std::size_t kCellsPerChunk = kChunkBytes / kCellBytes - 1;

  void add_chunk();
  void link(Chunk& chunk);
  void unlink(Chunk& chunk);

  Chunk* open_ = nullptr;  // chunks with free cells
  std::size_t used_ = 0;
  std::size_t chunks_ = 0;
};

}  // namespace sluice
