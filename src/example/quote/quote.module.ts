import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Application } from '../application/application.entity.js';
import { QuoteSubmitService } from './quote-submit.service.js';
import { QuoteController } from './quote.controller.js';
import { Quote } from './quote.entity.js';

@Module({
  imports: [TypeOrmModule.forFeature([Application, Quote])],
  controllers: [QuoteController],
  providers: [QuoteSubmitService],
  exports: [QuoteSubmitService],
})
export class QuoteModule {}
