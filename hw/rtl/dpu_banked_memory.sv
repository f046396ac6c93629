/// A memory of bytes that is read and written in words of `Units` units at any unit address.
///
///   word[u] = unit[addr + u]        for u < Units; the first byte of a unit in its lowest bits
///
/// Layout: unit a lies in bank a % Units, row a / Units, so that every bank gives one unit of each word; what the banks
/// gave is rotated by the address. Port A reads or writes bytes by strobes, port B reads.
/// Latency: data MemoryLatency = 2 cycles after en, ranges 1 cycle. Rate: one word a cycle and port.
/// A word may end beyond the memory as long as its needed units do not; nothing is written there.
module dpu_banked_memory #(
    /// Size; a multiple of Units * UnitBytes.
    parameter int unsigned Bytes = 16384,
    /// Bytes a unit.
    parameter int unsigned UnitBytes = 4,
    /// Units a word: 1, 2 or 4.
    parameter int unsigned Units = 2,
    /// Port A reads; else its data are zeros.
    parameter bit Reads = 1'b1,
    /// Port A writes the first unit of a word alone, whatever its strobes.
    parameter bit WritesOne = 1'b0,
    /// In UltraRAM; else as synthesis likes it.
    parameter bit UltraRam = 1'b0,
    localparam int unsigned AddressBits = dpu_pkg::AddressBits,
    localparam int unsigned UnitBits = 8 * UnitBytes
) (
    input  logic                       clk_i,
    input  logic                       a_en_i,
    input  logic                       a_we_i,
    input  logic [    AddressBits-1:0] a_addr_i,
    input  logic [          Units-1:0] a_need_i,
    input  logic [Units*UnitBytes-1:0] a_strobe_i,
    input  logic [ Units*UnitBits-1:0] a_wdata_i,
    output logic [ Units*UnitBits-1:0] a_rdata_o,
    output logic                       a_range_o,
    input  logic                       b_en_i,
    input  logic [    AddressBits-1:0] b_addr_i,
    input  logic [          Units-1:0] b_need_i,
    output logic [ Units*UnitBits-1:0] b_rdata_o,
    output logic                       b_range_o
);

  localparam string Style = UltraRam ? "ultra" : "auto";
  localparam int unsigned Total = Bytes / UnitBytes;
  localparam int unsigned Rows = Total / Units;
  localparam int unsigned RowBits = Rows > 1 ? $clog2(Rows) : 1;
  localparam int unsigned BankBits = Units > 1 ? $clog2(Units) : 1;

  if (Units != 1 && Units != 2 && Units != 4) begin : gen_check_units
    $fatal(1, "Units (%0d) must be 1, 2 or 4.", Units);
  end
  if (Bytes < Units * UnitBytes || Bytes % (Units * UnitBytes) != 0) begin : gen_check_bytes
    $fatal(1, "Bytes (%0d) must be a multiple of a word of %0d bytes.", Bytes, Units * UnitBytes);
  end
  if (Total > (1 << AddressBits)) begin : gen_check_address
    $fatal(1, "Bytes (%0d) are more than %0d address bits reach.", Bytes, AddressBits);
  end

  // The bank that a word begins in.
  function automatic logic [BankBits-1:0] first_bank(logic [AddressBits-1:0] addr);
    return Units > 1 ? addr[BankBits-1:0] : '0;
  endfunction

  // Unit number u of the word at an address.
  function automatic logic [AddressBits:0] unit_at(logic [AddressBits-1:0] addr,
                                                   logic [BankBits-1:0] u);
    return (AddressBits + 1)'(addr) + (AddressBits + 1)'(u);
  endfunction

  function automatic logic exists(logic [AddressBits:0] unit);
    return unit < (AddressBits + 1)'(Total);
  endfunction

  // A needed unit lies beyond the end.
  function automatic logic beyond(logic [AddressBits-1:0] addr, logic [Units-1:0] need);
    beyond = 1'b0;
    for (int unsigned u = 0; u < Units; u++) begin
      if (need[u] && !exists(unit_at(addr, BankBits'(u)))) beyond = 1'b1;
    end
  endfunction

  logic [BankBits-1:0] a_first, b_first, a_first_q, b_first_q;
  logic [Units*UnitBits-1:0] a_read, b_read, a_rotated, b_rotated;

  assign a_first = first_bank(a_addr_i);
  assign b_first = first_bank(b_addr_i);

  for (genvar bank = 0; bank < Units; bank++) begin : gen_bank
    logic [BankBits-1:0] a_part, b_part;  // the unit of the word that lies here
    logic [AddressBits:0] a_unit, b_unit;
    logic [RowBits-1:0] a_row, b_row;
    logic [UnitBytes-1:0] strobe;
    logic [UnitBits-1:0] wdata, b_q;
    (* ram_style = Style *)
    logic [UnitBits-1:0] memory[Rows];

    assign a_part = Units > 1 ? BankBits'(bank) - a_first : '0;
    assign b_part = Units > 1 ? BankBits'(bank) - b_first : '0;
    assign a_unit = unit_at(a_addr_i, a_part);
    assign b_unit = unit_at(b_addr_i, b_part);
    assign a_row = RowBits'(a_unit / Units);
    assign b_row = RowBits'(b_unit / Units);
    assign strobe = a_we_i && exists(a_unit) && (!WritesOne || a_part == 0) ?
        a_strobe_i[(WritesOne ? 0 : a_part)*UnitBytes+:UnitBytes] : '0;
    assign wdata = WritesOne ? a_wdata_i[UnitBits-1:0] : a_wdata_i[a_part*UnitBits+:UnitBits];
    assign b_read[bank*UnitBits+:UnitBits] = b_q;

    always_ff @(posedge clk_i) begin
      if (a_en_i) begin
        for (int unsigned i = 0; i < UnitBytes; i++) begin
          if (strobe[i]) memory[a_row][8*i+:8] <= wdata[8*i+:8];
        end
      end
    end

    if (Reads) begin : gen_read
      logic [UnitBits-1:0] a_q;
      always_ff @(posedge clk_i) begin
        if (a_en_i && !a_we_i) a_q <= memory[a_row];
      end
      assign a_read[bank*UnitBits+:UnitBits] = a_q;
    end else begin : gen_no_read
      assign a_read[bank*UnitBits+:UnitBits] = '0;
    end

    always_ff @(posedge clk_i) begin
      if (b_en_i) b_q <= memory[b_row];
    end
  end

  for (genvar u = 0; u < Units; u++) begin : gen_rotate
    logic [BankBits-1:0] a_bank, b_bank;
    assign a_bank = Units > 1 ? a_first_q + BankBits'(u) : '0;
    assign b_bank = Units > 1 ? b_first_q + BankBits'(u) : '0;
    assign a_rotated[u*UnitBits+:UnitBits] = a_read[a_bank*UnitBits+:UnitBits];
    assign b_rotated[u*UnitBits+:UnitBits] = b_read[b_bank*UnitBits+:UnitBits];
  end

  always_ff @(posedge clk_i) begin
    a_first_q <= a_first;
    b_first_q <= b_first;
    a_rdata_o <= a_rotated;
    b_rdata_o <= b_rotated;
    a_range_o <= a_en_i && beyond(a_addr_i, a_need_i);
    b_range_o <= b_en_i && beyond(b_addr_i, b_need_i);
  end

endmodule
