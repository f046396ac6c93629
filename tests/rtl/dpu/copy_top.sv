/// Stands in for the DPU in tests of its simulation: ports, registers and program of dpu_top, but a STORE copies `width`
/// bytes from byte `block_stride` of DDR to byte `target` (alike in their words), and END is the only other opcode.
///
/// The register at 0x7C breaks one rule: 1 ARVALID falls, 2 an address changes, 3 WLAST comes early, 4 a burst crosses
/// 4 KB, 5 a burst that is not INCR, 6 nothing happens, 7 an address below the memory, 8 $fatal, 9 narrow transfers,
/// 10 done and error at once, 11 no answer on AXI4-Lite, 12 an error on AXI4-Lite, 13 done with a burst under way, 14 an
/// address between words, 15 WDATA changes, 16 a burst of 32 words.
module dpu_top #(
    parameter int unsigned Inputs = 8,
    parameter int unsigned DspOutputs = 16,
    parameter int unsigned Outputs = 8,
    parameter int unsigned FeatureBytes = 0,
    parameter int unsigned WeightBytes = 0,
    parameter int unsigned ParameterEntries = 0,
    parameter int unsigned TableCount = 0,
    parameter int unsigned Accumulators = 0,
    parameter int unsigned OutputBytes = 0,
    parameter int unsigned RequantizeLanes = 0,
    parameter int unsigned VectorLanes = 0,
    parameter int unsigned BusBytes = 8,
    parameter int unsigned QueueDepth = 0,
    parameter bit UltraRam = 0,
    parameter logic [31:0] ParameterHash = 0,
    parameter bit Packed = 0
) (
    input  logic                  ap_clk,
    input  logic                  ap_rst_n,
    input  logic [           7:0] s_axi_control_awaddr,
    input  logic                  s_axi_control_awvalid,
    output logic                  s_axi_control_awready,
    input  logic [          31:0] s_axi_control_wdata,
    input  logic [           3:0] s_axi_control_wstrb,
    input  logic                  s_axi_control_wvalid,
    output logic                  s_axi_control_wready,
    output logic [           1:0] s_axi_control_bresp,
    output logic                  s_axi_control_bvalid,
    input  logic                  s_axi_control_bready,
    input  logic [           7:0] s_axi_control_araddr,
    input  logic                  s_axi_control_arvalid,
    output logic                  s_axi_control_arready,
    output logic [          31:0] s_axi_control_rdata,
    output logic [           1:0] s_axi_control_rresp,
    output logic                  s_axi_control_rvalid,
    input  logic                  s_axi_control_rready,
    output logic                  interrupt,
`define READ_PORTS(name) \
    output logic [          63:0] m_axi_``name``_araddr, \
    output logic [           7:0] m_axi_``name``_arlen, \
    output logic [           2:0] m_axi_``name``_arsize, \
    output logic [           1:0] m_axi_``name``_arburst, \
    output logic                  m_axi_``name``_arvalid, \
    input  logic                  m_axi_``name``_arready, \
    input  logic [BusBytes*8-1:0] m_axi_``name``_rdata, \
    input  logic [           1:0] m_axi_``name``_rresp, \
    input  logic                  m_axi_``name``_rlast, \
    input  logic                  m_axi_``name``_rvalid, \
    output logic                  m_axi_``name``_rready
    `READ_PORTS(features),
    `READ_PORTS(weights),
    `READ_PORTS(program),
    output logic [          63:0] m_axi_store_awaddr,
    output logic [           7:0] m_axi_store_awlen,
    output logic [           2:0] m_axi_store_awsize,
    output logic [           1:0] m_axi_store_awburst,
    output logic                  m_axi_store_awvalid,
    input  logic                  m_axi_store_awready,
    output logic [BusBytes*8-1:0] m_axi_store_wdata,
    output logic [  BusBytes-1:0] m_axi_store_wstrb,
    output logic                  m_axi_store_wlast,
    output logic                  m_axi_store_wvalid,
    input  logic                  m_axi_store_wready,
    input  logic [           1:0] m_axi_store_bresp,
    input  logic                  m_axi_store_bvalid,
    output logic                  m_axi_store_bready
);

  import isa_pkg::*;

  typedef enum logic [2:0] {
    Idle,
    Fetch,
    Collect,
    Start,
    Copy,
    Drain
  } state_e;

  state_e state_q;
  logic [4:0] fault_q;
  logic [31:0] register_q[32];
  logic [31:0] address_q, cycles_q, instructions_q;
  error_e error_q;
  logic done_q, failed_q, pending_q, write, start, soft_reset, enable_q;
  logic [255:0] word_q;
  store_t store;
  logic abort, finished, data_error, range_error;

  // Registers.
  assign write = s_axi_control_awvalid && s_axi_control_wvalid && !s_axi_control_bvalid && fault_q != 11;
  assign s_axi_control_awready = write;
  assign s_axi_control_wready = write;
  assign s_axi_control_bresp = fault_q == 12 ? 2'b10 : 2'b00;
  assign s_axi_control_rresp = 2'b00;
  assign s_axi_control_arready = !s_axi_control_rvalid;
  assign start = write && s_axi_control_awaddr == RegControl && s_axi_control_wdata[0] && state_q == Idle;
  assign soft_reset = write && s_axi_control_awaddr == RegControl && s_axi_control_wdata[1];
  assign interrupt = pending_q && enable_q;

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      s_axi_control_bvalid <= 1'b0;
      s_axi_control_rvalid <= 1'b0;
      fault_q <= '0;
    end else begin
      if (write) begin
        s_axi_control_bvalid <= 1'b1;
        register_q[s_axi_control_awaddr[6:2]] <= s_axi_control_wdata;
        if (s_axi_control_awaddr == 8'h7C) fault_q <= s_axi_control_wdata[4:0];
      end else if (s_axi_control_bready) s_axi_control_bvalid <= 1'b0;
      if (s_axi_control_arvalid && s_axi_control_arready) begin
        s_axi_control_rvalid <= 1'b1;
        case (s_axi_control_araddr)
          RegStatus: s_axi_control_rdata <= {29'b0, failed_q || (fault_q == 10), done_q, state_q != Idle};
          RegError: s_axi_control_rdata <= 32'(error_q);
          RegErrorAddress: s_axi_control_rdata <= address_q;
          RegCycles: s_axi_control_rdata <= cycles_q;
          RegInstructions: s_axi_control_rdata <= instructions_q;
          default: s_axi_control_rdata <= 32'h0;
        endcase
      end else if (s_axi_control_rready) s_axi_control_rvalid <= 1'b0;
    end
  end

  // The program: fetch, copy, next.
  logic [63:0] base;
  logic [31:0] size;
  logic fetch_ready, word_valid, word_last, fetch_error, fetch_range;
  logic [BusBytes*8-1:0] word, copied;
  logic read_ready, write_ready, copied_valid, copied_ready, read_q, write_q, unused_last, copy_done;
  logic write_error, write_range;
  logic [2:0] idle;

  assign base = {register_q[RegBaseHigh[6:2]], register_q[RegBaseLow[6:2]]};
  assign size = register_q[RegSize[6:2]];
  assign store = store_t'(word_q);
  assign abort = state_q == Drain;
  assign data_error = fetch_error || write_error || reader_error;
  assign range_error = fetch_range || write_range || reader_range;
  assign finished = state_q == Start && word_q[3:0] == OpEnd;

  task automatic fail(input error_e code);
    error_q <= code;
    state_q <= Drain;
  endtask

  always_ff @(posedge ap_clk) begin
    if (!ap_rst_n) begin
      state_q <= Idle;
      {done_q, failed_q, pending_q, enable_q, read_q, write_q} <= '0;
      error_q <= ErrorNone;
    end else begin
      if (fault_q == 8 && start) $fatal(1, "The copier (%0d) gives up.", fault_q);
      if (write && s_axi_control_awaddr == RegInterrupt && s_axi_control_wdata[0]) pending_q <= 1'b0;
      if (write && s_axi_control_awaddr == RegControl) enable_q <= s_axi_control_wdata[2];
      if (state_q != Idle) cycles_q <= cycles_q + 1;
      case (state_q)
        Idle: begin
          if (start) begin
            state_q <= fault_q == 6 ? Idle : Fetch;
            address_q <= register_q[RegProgram[6:2]];
            cycles_q <= '0;
            instructions_q <= '0;
            {done_q, failed_q, read_q, write_q} <= '0;
            error_q <= ErrorNone;
            if (register_q[RegExpectedHash[6:2]] != ParameterHash) fail(ErrorWrongHardware);
          end
        end
        Fetch:   if (fetch_ready) state_q <= Collect;
        Collect: begin
          if (word_valid) word_q <= {word, word_q[255:BusBytes*8]};
          if (word_valid && word_last) state_q <= Start;
        end
        Start: begin
          state_q <= Copy;
          if (finished) begin
            state_q <= Idle;
            instructions_q <= instructions_q + 1;
            done_q <= 1'b1;
            pending_q <= 1'b1;
          end else if (store.opcode != OpStore) fail(ErrorIllegalInstruction);
        end
        Copy: begin
          if (read_ready) read_q <= 1'b1;
          if (write_ready) write_q <= 1'b1;
          if (copy_done || (fault_q == 13 && write_q)) begin
            {read_q, write_q} <= '0;
            state_q <= Fetch;
            address_q <= address_q + 32;
            instructions_q <= instructions_q + 1;
          end
        end
        default: begin
          {read_q, write_q} <= '0;
          if (&idle && !abort_q) begin
            state_q <= Idle;
            failed_q <= error_q != ErrorNone;
            pending_q <= error_q != ErrorNone;
          end
        end
      endcase
      if (state_q != Idle && state_q != Drain) begin
        if (data_error) fail(ErrorAxi);
        if (range_error) fail(ErrorDdrRange);
      end
      if (soft_reset) begin
        error_q <= ErrorNone;
        {done_q, failed_q, pending_q} <= '0;
        if (state_q != Idle) state_q <= Drain;
      end
    end
  end

  logic abort_q, reader_error, reader_range;
  always_ff @(posedge ap_clk) abort_q <= state_q != Drain;

  axi_reader #(
      .BusBytes(BusBytes)
  ) u_program (
      .clk_i(ap_clk), .rst_ni(ap_rst_n), .base_i(base), .size_i(size), .abort_i(abort), .idle_o(idle[0]),
      .request_valid_i(state_q == Fetch), .request_ready_o(fetch_ready), .request_offset_i(address_q),
      .request_bytes_i(24'd32), .data_valid_o(word_valid), .data_ready_i(1'b1), .data_o(word),
      .data_last_o(word_last), .range_error_o(fetch_range), .axi_error_o(fetch_error),
      .m_axi_araddr(m_axi_program_araddr), .m_axi_arlen(m_axi_program_arlen),
      .m_axi_arsize(m_axi_program_arsize), .m_axi_arburst(m_axi_program_arburst),
      .m_axi_arvalid(m_axi_program_arvalid), .m_axi_arready(m_axi_program_arready),
      .m_axi_rdata(m_axi_program_rdata), .m_axi_rresp(m_axi_program_rresp), .m_axi_rlast(m_axi_program_rlast),
      .m_axi_rvalid(m_axi_program_rvalid), .m_axi_rready(m_axi_program_rready)
  );

  logic [63:0] araddr;
  logic [7:0] arlen;
  logic arvalid, waited_q, wlast, asked;

  axi_reader #(
      .BusBytes(BusBytes)
  ) u_features (
      .clk_i(ap_clk), .rst_ni(ap_rst_n), .base_i(base), .size_i(size), .abort_i(abort), .idle_o(idle[1]),
      .request_valid_i(state_q == Copy && !read_q), .request_ready_o(asked), .request_offset_i(store.block_stride),
      .request_bytes_i(24'(store.width)), .data_valid_o(copied_valid), .data_ready_i(copied_ready), .data_o(copied),
      .data_last_o(unused_last), .range_error_o(reader_range), .axi_error_o(reader_error),
      .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(), .m_axi_arburst(),
      .m_axi_arvalid(arvalid), .m_axi_arready(m_axi_features_arready),
      .m_axi_rdata(m_axi_features_rdata), .m_axi_rresp(m_axi_features_rresp), .m_axi_rlast(m_axi_features_rlast),
      .m_axi_rvalid(m_axi_features_rvalid), .m_axi_rready(m_axi_features_rready)
  );
  assign read_ready = asked && state_q == Copy && !read_q;

  always_ff @(posedge ap_clk) waited_q <= arvalid && !m_axi_features_arready;
  assign m_axi_features_arvalid = arvalid && !(fault_q == 1 && waited_q);
  assign m_axi_features_araddr = fault_q == 2 && waited_q ? araddr ^ 64'h1000
      : fault_q == 4 ? {araddr[63:12], 12'hFF8} : fault_q == 7 ? araddr - base : fault_q == 14 ? araddr | 1 : araddr;
  assign m_axi_features_arlen = fault_q == 16 ? 8'd31 : arlen;
  assign m_axi_features_arsize = fault_q == 9 ? 3'd2 : 3'($clog2(BusBytes));
  assign m_axi_features_arburst = fault_q == 5 ? 2'b10 : 2'b01;

  logic [BusBytes*8-1:0] wdata;
  logic wwaited_q;
  always_ff @(posedge ap_clk) wwaited_q <= m_axi_store_wvalid && !m_axi_store_wready;
  assign m_axi_store_wdata = fault_q == 15 && wwaited_q ? ~wdata : wdata;

  axi_writer #(
      .BusBytes(BusBytes)
  ) u_store (
      .clk_i(ap_clk), .rst_ni(ap_rst_n), .base_i(base), .size_i(size), .abort_i(abort), .idle_o(idle[2]),
      .request_valid_i(state_q == Copy && !write_q), .request_ready_o(write_asked), .request_offset_i(store.target),
      .request_bytes_i(24'(store.width)), .data_valid_i(copied_valid), .data_ready_o(copied_ready), .data_i(copied),
      .done_o(copy_done), .range_error_o(write_range), .axi_error_o(write_error),
      .m_axi_awaddr(m_axi_store_awaddr), .m_axi_awlen(m_axi_store_awlen), .m_axi_awsize(m_axi_store_awsize),
      .m_axi_awburst(m_axi_store_awburst), .m_axi_awvalid(m_axi_store_awvalid), .m_axi_awready(m_axi_store_awready),
      .m_axi_wdata(wdata), .m_axi_wstrb(m_axi_store_wstrb), .m_axi_wlast(wlast),
      .m_axi_wvalid(m_axi_store_wvalid), .m_axi_wready(m_axi_store_wready), .m_axi_bresp(m_axi_store_bresp),
      .m_axi_bvalid(m_axi_store_bvalid), .m_axi_bready(m_axi_store_bready)
  );
  logic write_asked;
  assign write_ready = write_asked && state_q == Copy && !write_q;
  assign m_axi_store_wlast = wlast || fault_q == 3;

  assign m_axi_weights_araddr = '0;
  assign m_axi_weights_arlen = '0;
  assign m_axi_weights_arsize = '0;
  assign m_axi_weights_arburst = '0;
  assign m_axi_weights_arvalid = 1'b0;
  assign m_axi_weights_rready = 1'b0;

endmodule
